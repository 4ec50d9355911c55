"""Meters: the cost of an interval for Redis and the workers' processes."""

import os
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from redis import Redis

#: Packages whose versions affect the figures, if they are installed.
_PACKAGES = ("celery", "kombu", "redis", "httpx", "aiohttp", "uvloop", "hiredis")


@dataclass(frozen=True)
class Reading:
    """What was counted up to a moment, or within an interval."""

    #: Redis' own count of commands, those inside scripts included.
    commands: int
    #: The same, by the command's name.
    by_command: Mapping[str, int]
    #: The CPU seconds of all worker processes; None without Linux.
    cpu_s: float | None
    #: The CPU seconds of Redis.
    redis_cpu_s: float

    def since(self, earlier: Self) -> "Reading":
        """Return the difference from `earlier`."""
        return Reading(
            commands=self.commands - earlier.commands,
            by_command={
                name: more
                for name, count in self.by_command.items()
                if (more := count - earlier.by_command.get(name, 0))
            },
            cpu_s=None if self.cpu_s is None or earlier.cpu_s is None else self.cpu_s - earlier.cpu_s,
            redis_cpu_s=self.redis_cpu_s - earlier.redis_cpu_s,
        )


def read(redis: Redis, worker_pids: Iterable[int]) -> Reading:
    """Read the meters. It costs Redis one command."""
    info: Any = redis.info("all")
    prefix = "cmdstat_"
    return Reading(
        commands=info["total_commands_processed"],
        by_command={name.removeprefix(prefix): info[name]["calls"] for name in info if name.startswith(prefix)},
        cpu_s=cpu_seconds(worker_pids),
        redis_cpu_s=info["used_cpu_user"] + info["used_cpu_sys"],
    )


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """Return the CPU time that all threads of running processes have used, to the nanosecond; None without Linux."""
    try:
        return sum(time.clock_gettime(_cpu_clock(pid)) for pid in pids)
    except OSError:
        return None


def _cpu_clock(pid: int) -> int:
    """Return Linux' id of the clock of a process' CPU time, as clock_getcpuclockid(3) does."""
    return (~pid << 3) | 2


def busy_share(idle_s: float, past_s: float) -> float:
    """Return the share of the machine's cores that was used in `past_s`, from the growth of :func:`idle_seconds`."""
    return 1 - idle_s / past_s / (os.cpu_count() or 1)


def idle_seconds() -> float:
    """Return the idle CPU time of all cores together; 0 without /proc."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def environment(redis: Redis) -> dict[str, str]:
    """Return the machine and the versions with which the figures were measured."""
    described = {"machine": machine(redis)}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            described[name] = version(name)
    return described


def machine(redis: Redis) -> str:
    """Return what the figures were measured on."""
    info: Any = redis.info("server")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, Redis {info['redis_version']}"
    )
