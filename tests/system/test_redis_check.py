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
from tests.support.workers import accounts_toml, worker

SAFE = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": ""}


def said(redis: Redis) -> list[tuple[str, str]]:
    """Return levels and lines."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        check(redis)
    return [(line["log_level"], line["event"]) for line in lines]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({"appendfsync": "always"}, []),
        ({"appendonly": "no", "save": "3600 1"}, ["loses what came since the last snapshot: set appendonly to yes"]),
        ({"appendonly": "no"}, ["loses every job: set appendonly to yes"]),
        ({"appendfsync": "no"}, ["can lose half a minute of jobs: set Redis' appendfsync to everysec or always"]),
        ({"maxmemory-policy": "allkeys-lru"}, ["throws waiting jobs away when it is full"]),
        ({"maxmemory-policy": "volatile-ttl"}, ["throws outcomes, rooms and shutdowns away when it is full"]),
        (
            {"maxmemory-policy": "allkeys-random", "appendonly": "no"},
            ["set maxmemory-policy to noeviction (it is allkeys-random)", "set appendonly to yes"],
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
            assert (level, line, warned) == ("info", "whether Redis keeps jobs on disk was not to be learnt", "warning")
        with Redis(port=port, username="knows", password="knows") as redis:
            with pytest.raises(NoPermissionError):
                redis.info()
            assert said(redis) == [("info", "how Redis is set up was not to be learnt")]
    finally:
        acl("ACL", "DELUSER", "asks", "knows")


def test_a_replica_is_warned_of(real_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    info = {**real_redis.info(), "role": "slave", "aof_enabled": 1}
    monkeypatch.setattr(real_redis, "info", lambda: info)
    assert [line for _, line in said(real_redis)] == [
        "this Redis is a replica, and takes no job: name the primary, or the sentinels"
    ]


def test_a_redis_that_is_gone_is_reported_in_one_line() -> None:
    with Redis(port=free_port()) as redis:
        assert said(redis) == [("info", "how Redis is set up was not to be learnt")]


@pytest.mark.parametrize(("version", "warned"), [("6.0.16", True), ("5.0.14", True), ("6.2.0", False), ("7.4", False)])
def test_an_old_redis_is_warned_of(
    version: str, warned: bool, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = {**real_redis.info(), "redis_version": version, "aof_enabled": 1}
    monkeypatch.setattr(real_redis, "info", lambda: info)
    assert [line for _, line in said(real_redis)] == [
        f"Redis is {version}: streamstop is made for 6.2 and later, and may fail"
    ] * warned


def test_a_worker_warns_and_starts(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(accounts_toml(DEFAULT_ACCOUNTS, "http://127.0.0.1:1"))
    with (
        redis_server("--maxmemory-policy", "allkeys-lru") as server,
        worker(server.url, accounts, folder=tmp_path) as running,
    ):
        running.await_line("set appendonly to yes")
        warnings = [line["event"] for line in running.lines() if line["level"] == "warning"]
        assert len([line for line in warnings if line.startswith("Redis ")]) == 2
