"""Finding: how long ``client.find`` takes for a stream task whose job has ended, is in flight, or waits."""

import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from redis import Redis

from streamstop import Client, Where
from streamstop._core.constants import LEASED
from streamstop._core.lane import Lane
from streamstop._core.stream_tasks import TaskNote
from streamstop._wire.messages import celery_message
from streamstop.operations import Kind
from streamstop.outcomes import Result
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench.results import Section, Target
from tests.bench.slowlog import LONGEST_US, slow_log
from tests.bench.stage import percentile

_OPERATION = "live.StopMPUTask"
_BACKLOG = Lane("find-0", _OPERATION)
_LANES, _IN_FLIGHT = 20, 10
_DAY_S = 86_400
_TIMES, _SEARCHES = 500, 20
_LIMIT = "only an ended or deferred job is in the index; the jobs in flight of each lane are read"


@dataclass(frozen=True)
class Figures:
    """The figures for one place of a job."""

    where: str
    #: Until the first sighting, and until the whole search has ended.
    first_p50_ms: float
    first_p99_ms: float
    whole_p50_ms: float
    longest_ms: float


def measure(jobs: int) -> Section:
    """Search among so many waiting jobs, and stream tasks that so many jobs have stopped."""
    with redis_server() as server, server.client() as redis, Client(server.url) as client:
        _fill(redis, jobs)
        runs = [
            _run(client, redis, where, partial(_drawn, random.Random(1), name, most))  # no secret
            for where, name, most in (
                (Where.ENDED, _ended, jobs),
                (Where.IN_FLIGHT, _in_flight, _LANES * _IN_FLIGHT),
                (Where.WAITING, _waiting, jobs),
            )
        ]
    return Section(
        name="find",
        text=(
            f"`client.find` by a task's id, with {jobs:,} jobs waiting in one lane, {jobs:,} tasks whose jobs have "
            f"ended and {_LANES * _IN_FLIGHT} jobs in flight in {_LANES} lanes. The first sighting of {_TIMES} tasks "
            f"of each kind ({_SEARCHES} where the lane must be searched), and the whole search of {_SEARCHES}."
        ),
        header=[
            "the task's job",
            "first, p50 (ms)",
            "first, p99 (ms)",
            "whole search, p50 (ms)",
            "longest command (ms)",
        ],
        rows=[
            [
                run.where,
                f"{run.first_p50_ms:.2f}",
                f"{run.first_p99_ms:.2f}",
                f"{run.whole_p50_ms:.0f}",
                f"{run.longest_ms:.1f}",
            ]
            for run in runs
        ],
        targets=[
            Target(
                f"{run.where}: found in a millisecond at the median",
                run.first_p50_ms <= 1,
                f"{run.first_p50_ms:.2f} ms",
                _LIMIT if run.where == Where.IN_FLIGHT.value else "",
            )
            for run in runs
            if run.where != Where.WAITING.value
        ]
        + [
            Target(
                f"{run.where}: no command over {LONGEST_US // 1000} ms",
                run.longest_ms * 1000 <= LONGEST_US,
                f"{run.longest_ms:.1f} ms",
            )
            for run in runs
        ],
        figures=[asdict(run) for run in runs],
    )


def _run(client: Client, redis: Redis, where: Where, draw: Callable[[], str]) -> Figures:
    times = _SEARCHES if where is Where.WAITING else _TIMES
    with slow_log(redis) as slow:
        firsts = [_timed(client, draw(), where, whole=False) for _ in range(times)]
        wholes = [_timed(client, draw(), where, whole=True) for _ in range(_SEARCHES)]
    return Figures(
        where=where.value,
        first_p50_ms=percentile(firsts, 50),
        first_p99_ms=percentile(firsts, 99),
        whole_p50_ms=percentile(wholes, 50),
        longest_ms=slow.longest_ms,
    )


def _timed(client: Client, task: str, where: Where, *, whole: bool) -> float:
    """Return how many ms a search takes, or its first sighting."""
    began = time.perf_counter()
    with closing(client.find({"TaskId": task})) as sightings:  # type: ignore[type-var]  # it is a generator
        found = next(sightings)
        if whole:
            for _ in sightings:
                pass
    took = (time.perf_counter() - began) * 1000
    if found.where is not where:
        raise RuntimeError(f"{task} is {found.where}, and not {where}")
    return took


def _drawn(chosen: random.Random, name: Callable[[int], str], most: int) -> str:
    return name(chosen.randrange(most))


def _ended(number: int) -> str:
    return f"ended-{number:026d}"


def _in_flight(number: int) -> str:
    return f"flight-{number:025d}"


def _waiting(number: int) -> str:
    return f"wait-{number:027d}"


def _fill(redis: Redis, jobs: int) -> None:
    now = datetime.now(UTC)
    _piped(redis, jobs, lambda pipe, number: pipe.lpush(_BACKLOG.queue, _message(_BACKLOG, _waiting(number))[1]))

    def end(pipe: Any, number: int) -> None:
        lane, task = Lane(f"find-{number % _LANES}", _OPERATION), _ended(number)
        note = TaskNote(
            task_id=task,
            job_id=lane.new_job_id(),
            lane=lane,
            params=_params(task),
            kind=Kind.STOP,
            state=Result.STOPPED.value,
            in_doubt=False,
            at=now,
        )
        pipe.set(note.key, str(note), ex=_DAY_S)

    def take(pipe: Any, number: int) -> None:
        lane = Lane(f"find-{number % _LANES}", _OPERATION)
        job_id, message = _message(lane, _in_flight(number))
        lease_us = int((now + timedelta(hours=1)).timestamp() * 1_000_000)
        pipe.hset(lane.jobs, mapping={job_id: message, f"{job_id}:owner": "bench"})
        pipe.zadd(lane.leases, {job_id: lease_us})
        pipe.zadd(LEASED, {lane.name: lease_us})

    _piped(redis, jobs, end)
    _piped(redis, _LANES * _IN_FLIGHT, take)


def _piped(redis: Redis, count: int, add: Callable[[Any, int], Any]) -> None:
    for first in range(0, count, 1000):
        pipe: Any = redis.pipeline(transaction=False)
        for number in range(first, min(count, first + 1000)):
            add(pipe, number)
        pipe.execute()


def _params(task: str) -> dict[str, Any]:
    return {"AppId": "bench", "TaskId": task}


def _message(lane: Lane, task: str) -> tuple[str, str]:
    argument = {
        "v": 1,
        "operation": lane.operation,
        "account": lane.account,
        "params": _params(task),
        "enqueued_at": time.time(),
    }
    job_id = lane.new_job_id()
    return job_id, celery_message(job_id, lane, argument, priority=0)
