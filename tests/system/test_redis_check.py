"""At its start a worker warns of a Redis that can lose jobs; it starts whatever Redis reports."""

from pathlib import Path
from typing import Any

import pytest
import structlog
from redis import Redis
from redis.exceptions import NoPermissionError
from structlog.testing import capture_logs

from streamstop_simulator.demo.embedded_redis import free_port, redis_server
from streamstop_worker.upkeep.redis_check import check
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.polling import eventually
from tests.support.workers import accounts_toml, worker

SAFE = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": ""}


def said(redis: Redis) -> list[tuple[str, str]]:
    """Return levels and lines: the event and its fields."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        check(redis)
    return [
        (line.pop("log_level"), "; ".join([line.pop("event"), *(f"{key}: {value}" for key, value in line.items())]))
        for line in map(dict, lines)
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({"appendfsync": "always"}, []),
        ({"appendonly": "no", "save": "3600 1"}, ["set appendonly to yes; loses: jobs since the last snapshot"]),
        ({"appendonly": "no"}, ["set appendonly to yes; loses: every job"]),
        ({"appendfsync": "no"}, ["set appendfsync to everysec; loses: half a minute of jobs"]),
        (
            {"maxmemory-policy": "allkeys-lru"},
            ["set maxmemory-policy to noeviction; policy: allkeys-lru; loses: waiting jobs"],
        ),
        ({"maxmemory-policy": "volatile-ttl"}, ["loses: outcomes, rooms and shutdowns"]),
        (
            {"maxmemory-policy": "allkeys-random", "appendonly": "no"},
            ["set maxmemory-policy to noeviction; policy: allkeys-random", "set appendonly to yes"],
        ),
    ],
)
def test_each_setting_that_can_lose_jobs_is_one_warning_that_says_what_to_set(
    settings: dict[str, str], words: list[str]
) -> None:
    options = [word for name, value in (SAFE | settings).items() for word in (f"--{name}", *(value.split() or [""]))]
    with redis_server(*options) as server, server.client() as redis:
        lines = said(redis)
    assert [level for level, _ in lines] == ["warning"] * len(words)
    assert [word for word, (_, line) in zip(words, lines, strict=True) if word not in line] == []


def test_settings_that_redis_does_not_report_are_one_line_at_info(real_redis: Redis) -> None:
    acl: Any = real_redis.execute_command
    acl("ACL", "SETUSER", "asks", "on", ">asks", "~*", "&*", "+@all", "-config")
    acl("ACL", "SETUSER", "knows", "on", ">knows", "~*", "&*", "+@all", "-config", "-info")
    port = real_redis.connection_pool.connection_kwargs["port"]
    try:
        with Redis(port=port, username="asks", password="asks") as redis:
            (level, line), (warned, _) = said(redis)
            unknown = "the persistence settings of Redis cannot be read; error: NoPermissionError"
            assert (level, line, warned) == ("info", unknown, "warning")
        with Redis(port=port, username="knows", password="knows") as redis:
            with pytest.raises(NoPermissionError):
                redis.info()
            assert said(redis) == [("info", "the settings of Redis cannot be read; error: NoPermissionError")]
    finally:
        acl("ACL", "DELUSER", "asks", "knows")


def test_a_replica_is_warned_of(real_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    info = {**real_redis.info(), "role": "slave", "aof_enabled": 1}
    monkeypatch.setattr(real_redis, "info", lambda: info)
    assert [line for _, line in said(real_redis)] == [
        "Redis is a replica and refuses jobs: name the primary or the sentinels"
    ]


def test_a_redis_that_is_gone_is_reported_in_one_line() -> None:
    with Redis(port=free_port()) as redis:
        assert said(redis) == [("info", "the settings of Redis cannot be read; error: ConnectionError")]


@pytest.mark.parametrize(("version", "warned"), [("6.0.16", True), ("5.0.14", True), ("6.2.0", False), ("7.4", False)])
def test_an_old_redis_is_warned_of(
    version: str, warned: bool, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = {**real_redis.info(), "redis_version": version, "aof_enabled": 1}
    monkeypatch.setattr(real_redis, "info", lambda: info)
    assert [line for _, line in said(real_redis)] == [
        f"Redis is older than 6.2 and may fail: upgrade Redis; version: {version}"
    ] * warned


def test_a_worker_warns_and_starts(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(accounts_toml(DEFAULT_ACCOUNTS, "http://127.0.0.1:1"))
    with (
        redis_server("--maxmemory-policy", "allkeys-lru") as server,
        worker(server.url, accounts, folder=tmp_path) as running,
    ):

        def warnings() -> list[str]:
            warned = [line["event"] for line in running.lines() if line["level"] == "warning"]
            return [event for event in warned if event.startswith("Redis ")]

        eventually(lambda: len(warnings()) >= 2, "both warnings")
        first, second = sorted(warnings())
        assert "set maxmemory-policy to noeviction" in first + second
        assert "set appendonly to yes" in first + second
