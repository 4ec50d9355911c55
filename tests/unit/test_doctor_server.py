"""The doctor's checks of Redis, each on facts that are right and facts that are wrong."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from streamstop import (
    Finding,
    Severity,
)
from streamstop._core.findings import ServerFacts, SlowCommand
from streamstop._doctor.durability import DURABILITY
from streamstop._doctor.server import SERVER
from streamstop._redis.server_facts import read_facts
from tests.support.findings import problems_of
from tests.support.signs_of_life import NOW

#: What a Redis that is well says.
WELL: dict[str, Any] = {
    "redis_version": "7.0.15",
    "aof_enabled": 1,
    "maxmemory": 10_000_000,
    "used_memory": 1_000_000,
    "maxmemory_policy": "noeviction",
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "role": "master",
    "connected_slaves": 0,
}


def about_redis(facts: ServerFacts) -> Iterator[Finding]:
    return (finding for check in (*DURABILITY, *SERVER) for finding in check(facts))


def server(clock_ahead_s: float = 0, replicas: int = 0, slow_ms: Sequence[int] = (), **info: Any) -> ServerFacts:
    return ServerFacts(
        info=WELL | info,
        config={"save": "", "appendfsync": "everysec"},
        slow=[SlowCommand("lane/take", NOW, timedelta(milliseconds=each)) for each in slow_ms],
        now=NOW,
        clock_ahead=timedelta(seconds=clock_ahead_s),
        replicas_wanted=replicas,
    )


def test_of_a_redis_that_is_well_every_check_says_so() -> None:
    findings = list(about_redis(server()))
    assert {finding.severity for finding in findings} == {Severity.OK}
    checks = [finding.check.removeprefix("redis.") for finding in findings]
    assert checks == ["version", "eviction", "persistence", "memory", "clock", "slow"]


@pytest.mark.parametrize(
    ("facts", "check", "words"),
    [
        (server(redis_version="6.0.16"), "version", "older than 6.2"),
        (server(maxmemory_policy="volatile-lru", evicted_keys=7), "eviction", "deletes keys when it is full"),
        (server(aof_enabled=0), "persistence", "keeps no append-only file"),
        (server(role="slave"), "role", "is a replica"),
        (server(used_memory=9_100_000), "memory", "uses 9 MB of 10 MB, its limit"),
        (
            server(maxmemory=0, total_system_memory=1_000_000),
            "memory",
            "1 MB of 1 MB, the machine's memory, for it has no limit",
        ),
        (server(aof_last_write_status="err"), "disk", "could not write to its disk"),
        (server(aof_last_bgrewrite_status="err"), "disk", "could not write to its disk"),
        (server(clock_ahead_s=60), "clock", "the clock of this machine is 60 s ahead of Redis' clock"),
        (server(clock_ahead_s=-60), "clock", "the clock of this machine is 60 s behind Redis' clock"),
        (server(slow_ms=[12, 150]), "slow", "the last hour: 2; the slowest, lane/take, took 150 ms"),
        (server(replicas=2, connected_slaves=1), "replicas", "asks for 2, and 1 are connected"),
    ],
)
def test_each_problem_of_redis_is_named(facts: ServerFacts, check: str, words: str) -> None:
    ((found, text),) = problems_of(about_redis(facts))
    assert found == f"redis.{check}"
    assert words in text


@pytest.mark.parametrize(
    "facts",
    [
        server(clock_ahead_s=4),
        server(slow_ms=[99]),
        server(used_memory=8_900_000),
        server(maxmemory=0, total_system_memory=None),
        server(replicas=1, connected_slaves=1),
        server(rdb_last_bgsave_status="err"),  # with an append-only file, a snapshot is not needed
        ServerFacts(info=None),
    ],
)
def test_what_is_tolerable_or_unknown_is_no_problem(facts: ServerFacts) -> None:
    assert problems_of(about_redis(facts)) == []


def test_slow_commands_of_long_ago_do_not_count() -> None:
    old = SlowCommand("lane/take", NOW - timedelta(hours=2), timedelta(seconds=3))
    facts = ServerFacts(info=WELL, slow=[old], now=NOW)
    assert problems_of(about_redis(facts)) == []


def test_what_redis_refuses_to_tell_is_unknown(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise NoPermissionError("NOPERM")

    for name in ("info", "config_get", "slowlog_get"):
        monkeypatch.setattr(redis, name, refuse)
    facts = read_facts(redis, replicas_wanted=0)
    assert (facts.info, facts.config, facts.slow) == (None, None, None)
    assert facts.refused == dict.fromkeys(("INFO", "CONFIG GET", "SLOWLOG"), "NoPermissionError")
