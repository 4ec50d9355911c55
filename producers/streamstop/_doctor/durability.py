"""Durability: settings with which Redis can lose jobs. Workers check them too, when they start."""

from collections.abc import Callable, Iterator
from typing import Any

from streamstop._core.findings import Finding, ServerFacts, ok, problem

_OLDEST = (6, 2)


def check_version(facts: ServerFacts) -> Iterator[Finding]:
    """Check that Redis is no older than the versions that streamstop is tested with."""
    version = str(_info(facts, "redis_version", ""))
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        yield problem("redis.version", "Redis is older than 6.2 and may fail", "upgrade Redis", version=version)
    elif version:
        product = "Valkey" if _info(facts, "server_name", "") == "valkey" else "Redis"
        yield ok("redis.version", f"{product} {_info(facts, 'valkey_version', version)} answers")


def check_eviction(facts: ServerFacts) -> Iterator[Finding]:
    """Check that a full Redis refuses new jobs, and deletes none."""
    policy = str(_info(facts, "maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield ok("redis.eviction", "a full Redis deletes nothing")
        return
    lost = "waiting jobs" if policy.startswith("allkeys") else "outcomes, rooms and shutdowns"
    text, do = "Redis deletes keys when it is full", "set maxmemory-policy to noeviction"
    evicted = {"evicted": number} if (number := _info(facts, "evicted_keys", 0)) else {}
    yield problem("redis.eviction", text, do, policy=policy, loses=lost, **evicted)


def check_persistence(facts: ServerFacts) -> Iterator[Finding]:
    """Check that Redis writes every job to its disk within a second."""
    config = facts.config or {}
    if _info(facts, "aof_enabled", 1) == 0:
        lost = "every job" if config.get("save") == "" else "jobs since the last snapshot"
        yield problem("redis.persistence", "Redis keeps no append-only file", "set appendonly to yes", loses=lost)
    elif config.get("appendfsync") == "no":
        text, do = "Redis does not sync its append-only file", "set appendfsync to everysec"
        yield problem("redis.persistence", text, do, loses="half a minute of jobs at a power cut")
    elif _info(facts, "aof_enabled", None) == 1:
        yield ok("redis.persistence", "Redis keeps an append-only file")


def check_role(facts: ServerFacts) -> Iterator[Finding]:
    """Check that this Redis is a primary."""
    if _info(facts, "role", "master") == "slave":
        text, do = "Redis is a replica and refuses jobs", "name the primary or the sentinels"
        yield problem("redis.role", text, do)


#: In the order in which they are reported.
DURABILITY: tuple[Callable[[ServerFacts], Iterator[Finding]], ...] = (
    check_version,
    check_eviction,
    check_persistence,
    check_role,
)


def _info(facts: ServerFacts, name: str, default: Any) -> Any:
    return (facts.info or {}).get(name, default)
