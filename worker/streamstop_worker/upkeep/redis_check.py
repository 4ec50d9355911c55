"""Redis check: a worker that starts warns of settings by which Redis can lose jobs. It starts in any case."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import structlog
from redis import Redis

from streamstop._redis.deadline import deadline
from streamstop._redis.errors import ERRORS

_OLDEST = (6, 2)
#: The deadline of the whole check.
_PATIENCE = timedelta(seconds=5)

_log = structlog.get_logger("streamstop")


def check(redis: Redis) -> None:
    """Log a warning for each setting of `redis` that can lose jobs, or one line at info if settings cannot be read."""
    try:
        with deadline(_PATIENCE):
            problems = list(_problems(redis))
    except ERRORS as error:
        _log.info("how Redis is set up was not to be learnt", error=type(error).__name__)
        return
    for problem in problems:
        _log.warning(problem)


def _problems(redis: Redis) -> Iterator[str]:
    info: Mapping[str, Any] = redis.info()
    version = str(info.get("redis_version", ""))
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        yield f"Redis is {version}: streamstop is made for 6.2 and later, and may fail"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        lost = "waiting jobs" if str(policy).startswith("allkeys") else "outcomes, rooms and shutdowns"
        yield f"Redis throws {lost} away when it is full: set maxmemory-policy to noeviction (it is {policy})"
    config = _config(redis)
    if info.get("aof_enabled") == 0:
        lost = "every job" if config.get("save") == "" else "what came since the last snapshot"
        yield f"Redis appends nothing to its disk, and a crash of it loses {lost}: set appendonly to yes"
    if info.get("role") == "slave":
        yield "this Redis is a replica, and takes no job: name the primary, or the sentinels"
    if info.get("aof_enabled") == 1 and config.get("appendfsync") == "no":
        yield "a power cut can lose half a minute of jobs: set Redis' appendfsync to everysec or always (it is no)"


def _config(redis: Redis) -> Mapping[str, Any]:
    """Return the settings that only CONFIG GET reads; nothing if Redis refuses it, as managed services and ACLs do."""
    try:
        return {name: redis.config_get(name).get(name) for name in ("save", "appendfsync")}
    except ERRORS as error:
        _log.info("whether Redis keeps jobs on disk was not to be learnt", error=type(error).__name__)
        return {}
