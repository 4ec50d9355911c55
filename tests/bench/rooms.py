"""Rooms: how soon ``stop_room`` of a big room returns, how soon its jobs are in their lane, and the cost of watching.

Real workers do the fan-out, and call the simulated vendor at the lane's pace meanwhile.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from streamstop import Client, Command, Shutdown
from streamstop.operations.aliyun import StopMPUTask
from streamstop_simulator import run_in_process
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench.lanes import LanesWay
from tests.bench.metering import machine, read
from tests.bench.scenario import SPARSE, Scenario
from tests.support.accounts import at_vendors

_PATIENCE_S = 60
_READS = 300
_SCENARIO = Scenario()
_BIG, _SMALL = _SCENARIO.busy[0], SPARSE


@dataclass(frozen=True)
class ProgressCost:
    """The cost of one read of a shutdown's progress."""

    tasks: int
    commands: float
    median_ms: float


@dataclass(frozen=True)
class RoomFigures:
    """The figures. Lists have one entry for each turn."""

    machine: str
    tasks: int
    register_s: list[float] = field(default_factory=list)
    #: Until ``stop_room`` has returned.
    returned_s: list[float] = field(default_factory=list)
    #: From before ``stop_room`` until the last job is in its lane.
    in_lane_s: list[float] = field(default_factory=list)
    #: Redis' memory per job, without the registry.
    bytes_per_job: list[float] = field(default_factory=list)
    progress: list[ProgressCost] = field(default_factory=list)


def measure(tasks: int, turns: int) -> RoomFigures:
    """Stop a room of `tasks` registered tasks, `turns` times."""
    with (
        TemporaryDirectory(prefix="streamstop-bench-") as made,
        redis_server() as server,
        run_in_process() as vendor,
        LanesWay().run(server, vendor.url, _SCENARIO, Path(made)),
        server.client() as redis,
        Client(server.url) as client,
    ):
        vendor.settings(auto_start=True)
        vendor.add_accounts(at_vendors(_SCENARIO.accounts))
        figures = RoomFigures(machine(redis), tasks)
        small = _stop(redis, client, _SMALL, "small", 100)
        big = small
        for turn in range(turns):
            big = _measure_stop(redis, client, f"big-{turn}", figures)
        figures.progress.extend(_progress_costs(redis, [(100, small), (tasks, big)]))
        return figures


def _measure_stop(redis: Redis, client: Client, room: str, figures: RoomFigures) -> Shutdown:
    commands = _commands(_BIG, room, figures.tasks)
    began = time.perf_counter()
    client.register_many(room, commands)
    figures.register_s.append(time.perf_counter() - began)
    used_before = _used_memory(redis)
    began = time.perf_counter()
    shutdown = client.stop_room(room)
    figures.returned_s.append(time.perf_counter() - began)
    _await_jobs(redis, shutdown, figures.tasks)
    figures.in_lane_s.append(time.perf_counter() - began)
    figures.bytes_per_job.append((_used_memory(redis) - used_before) / figures.tasks)
    return shutdown


def _stop(redis: Redis, client: Client, account: str, room: str, size: int) -> Shutdown:
    client.register_many(room, _commands(account, room, size))
    shutdown = client.stop_room(room)
    _await_jobs(redis, shutdown, size)
    return shutdown


def _commands(account: str, room: str, size: int) -> list[Command]:
    return [
        Command(operation=StopMPUTask(app_id="bench", task_id=f"{room}-{number}"), account=account)
        for number in range(size)
    ]


def _await_jobs(redis: Redis, shutdown: Shutdown, wanted: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while redis.hlen(f"streamstop.shutdown.{shutdown.id}:jobs") < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"fewer than {wanted} jobs were in their lane after {_PATIENCE_S} s")
        time.sleep(0.005)


def _used_memory(redis: Redis) -> int:
    info: Any = redis.info("memory")
    used: int = info["used_memory"]
    return used


def _progress_costs(redis: Redis, shutdowns: Sequence[tuple[int, Shutdown]]) -> list[ProgressCost]:
    """Read in turns, so that other load of the machine affects all reads equally."""
    spent: list[list[float]] = [[] for _ in shutdowns]
    for _ in range(_READS):
        for times, (_tasks, shutdown) in zip(spent, shutdowns, strict=True):
            began = time.perf_counter()
            shutdown.progress()
            times.append(time.perf_counter() - began)
    commands = [_commands_of_one_read(redis, shutdown) for _tasks, shutdown in shutdowns]
    return [
        ProgressCost(tasks, count, median(times) * 1000)
        for (tasks, _), count, times in zip(shutdowns, commands, spent, strict=True)
    ]


def _commands_of_one_read(redis: Redis, shutdown: Shutdown) -> float:
    """Count the commands of a read of a progress. Only commands that workers do not send count."""
    before = read(redis, [])
    for _ in range(_READS):
        shutdown.progress()
    by_command = read(redis, []).since(before).by_command
    return by_command.get("hgetall", 0) / _READS + by_command.get("llen", 0) / _READS
