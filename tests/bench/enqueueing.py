"""Enqueueing: one ``enqueue_many`` of many commands, and as many ``apply_async`` of a plain Celery task.

No worker runs. The two take turns, each on an empty Redis. The ratio is that of the medians. Then ``enqueue`` alone is
measured.
"""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from celery import Task
from redis import Redis

from streamstop import Client, Command
from streamstop._redis.accounts import KnownAccounts
from streamstop.operations.aliyun import StopMPUTask
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench.metering import machine
from tests.bench.plain_celery import producer

_WARM_UP = 100
_SINGLE = 500


@dataclass(frozen=True)
class EnqueueFigures:
    """The figures, in seconds. Lists have one entry for each turn."""

    machine: str
    jobs: int
    #: ``enqueue_many`` alone, of commands that exist already.
    ours_s: list[float]
    #: The creation of the operations and the commands.
    making_s: list[float]
    #: A loop of ``apply_async``.
    plain_s: list[float]
    #: One ``enqueue`` for each entry.
    single_s: list[float]
    #: Round trips to Redis of one ``enqueue``.
    single_round_trips: float

    @property
    def ratio(self) -> float:
        """How many times faster ``enqueue_many`` is."""
        return median(self.plain_s) / median(self.ours_s)

    @property
    def ratio_with_making(self) -> float:
        """The same, with the creation of the commands included on streamstop's side."""
        return median(self.plain_s) / (median(self.ours_s) + median(self.making_s))


def measure(jobs: int, turns: int) -> EnqueueFigures:
    """Enqueue `jobs` jobs in each way, `turns` times."""
    with redis_server() as server, server.client() as redis, Client(server.url) as client, producer(server.url) as stop:
        all_ours_s: list[float] = []
        all_making_s: list[float] = []
        plain_s: list[float] = []
        _ours(redis, client, _WARM_UP)
        _plain(redis, stop, _WARM_UP)
        for _ in range(turns):
            making_s, ours_s = _ours(redis, client, jobs)
            all_making_s.append(making_s)
            all_ours_s.append(ours_s)
            plain_s.append(_plain(redis, stop, jobs))
        single_s, round_trips = _single(redis, client)
        return EnqueueFigures(machine(redis), jobs, all_ours_s, all_making_s, plain_s, single_s, round_trips)


def _single(redis: Redis, client: Client) -> tuple[list[float], float]:
    redis.flushall()
    KnownAccounts(redis).publish({"live": "aliyun"})  # as a running worker does; clients ask again until one has
    client.enqueue(StopMPUTask(app_id="bench", task_id="first"), account="live")  # the client caches the accounts
    spent, before = [], _reads(redis)
    for number in range(_SINGLE):
        began = time.perf_counter()
        client.enqueue(StopMPUTask(app_id="bench", task_id=f"task-{number}"), account="live")
        spent.append(time.perf_counter() - began)
    own = 1
    return spent, (_reads(redis) - before - own) / _SINGLE


def _reads(redis: Redis) -> int:
    """Return how often Redis has read from a connection. It reads a pipeline at once."""
    stats: Any = redis.info("stats")
    return int(stats["total_reads_processed"])


def _ours(redis: Redis, client: Client, jobs: int) -> tuple[float, float]:
    redis.flushall()
    began = time.perf_counter()
    commands = [
        Command(operation=StopMPUTask(app_id="bench", task_id=f"task-{number}"), account="live")
        for number in range(jobs)
    ]
    made = time.perf_counter()
    client.enqueue_many(commands)
    return made - began, time.perf_counter() - made


def _plain(redis: Redis, stop: "Task[Any, Any]", jobs: int) -> float:
    redis.flushall()
    began = time.perf_counter()
    for number in range(jobs):
        stop.apply_async(("live", "bench", f"task-{number}"))
    return time.perf_counter() - began
