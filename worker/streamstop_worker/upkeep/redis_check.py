"""Redis check: warns at the start of a worker of settings with which Redis can lose jobs. The worker starts anyway."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import structlog
from redis import Redis

from streamstop._redis.deadline import deadline
from streamstop._redis.errors import ERRORS

_OLDEST = (6, 2)
#: The deadline of the whole check.
_TIMEOUT = timedelta(seconds=5)

_log = structlog.get_logger("streamstop")


def check(redis: Redis) -> None:
    """Log a warning for each setting of `redis` that can lose jobs, or one line at info if settings cannot be read."""
    try:
        with deadline(_TIMEOUT):
            problems = list(_problems(redis))
    except ERRORS as error:
        _log.info("the settings of Redis cannot be read", error=type(error).__name__)
        return
    for event, facts in problems:
        _log.warning(event, **facts)


def _problems(redis: Redis) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the log event of each problem, with its fields."""
    info: Mapping[str, Any] = redis.info()
    version = str(info.get("redis_version", ""))
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        yield "Redis is older than 6.2 and may fail", {"version": version}
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        lost = "waiting jobs" if str(policy).startswith("allkeys") else "outcomes, rooms and shutdowns"
        yield (
            "Redis deletes keys when it is full: set maxmemory-policy to noeviction",
            {"policy": policy, "loses": lost},
        )
    config = _config(redis)
    if info.get("aof_enabled") == 0:
        lost = "every job" if config.get("save") == "" else "jobs since the last snapshot"
        yield "Redis keeps no append-only file: set appendonly to yes", {"loses": lost}
    if info.get("role") == "slave":
        yield "Redis is a replica and refuses jobs: name the primary or the sentinels", {}
    if info.get("aof_enabled") == 1 and config.get("appendfsync") == "no":
        yield (
            "Redis does not sync its append-only file: set appendfsync to everysec",
            {"loses": "half a minute of jobs at a power cut"},
        )


def _config(redis: Redis) -> Mapping[str, Any]:
    """Return the settings that only CONFIG GET reads. Empty if Redis refuses it, as managed services and ACLs do."""
    try:
        return {name: redis.config_get(name).get(name) for name in ("save", "appendfsync")}
    except ERRORS as error:
        _log.info("the persistence settings of Redis cannot be read", error=type(error).__name__)
        return {}
