"""Pauses and limits through the client, synchronous, asynchronous and recording, and through the command line."""

import asyncio
import getpass
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, InvalidCommand, Limit, Pause, UnknownAccount
from streamstop._core.constants import ACCOUNTS, CONTROLS
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.controls import ControlStore
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.executable import objects, run
from tests.support.known_accounts import publish_for_an_hour

ME = f"{getpass.getuser()}@{socket.gethostname()}"
OPERATION = "live.StopMPUTask"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def accounts(real_redis: Redis) -> None:
    """Two accounts of running workers."""
    publish_for_an_hour(real_redis, {"live-cn": "aliyun", "trtc-sg": "tencent"})


@pytest.fixture(params=["real", "recording"])
def any_client(request: pytest.FixtureRequest, redis_url: str, accounts: None) -> Iterator[Client]:
    """The client, and the recording client."""
    if request.param == "recording":
        yield RecordingClient(accounts={"live-cn": "aliyun", "trtc-sg": "tencent"})
    else:
        with Client(redis_url) as client:
            yield client


@contextmanager
def refused(field: str, *allowed: str) -> Iterator[None]:
    with pytest.raises(InvalidCommand) as caught:
        yield
    assert caught.value.field == field
    for text in allowed:
        assert text in str(caught.value)


def test_a_pause_says_who_why_and_until_when(any_client: Client) -> None:
    before = any_client._backend.now()
    made = any_client.pause("live-cn", lasting=MINUTE, reason="the vendor asked us to")
    assert (made.scope, made.by, made.reason) == ("live-cn", ME, "the vendor asked us to")
    assert made.until is not None
    assert made.until - made.at == MINUTE
    assert abs(made.at - before) < MINUTE
    endless = any_client.pause("all", by="pager")
    assert (endless.by, endless.until) == ("pager", None)
    assert any_client.pauses() == [made, endless]
    assert any_client.holds() == []
    assert any_client.resume("live-cn")
    assert not any_client.resume("live-cn")
    assert any_client.pauses() == [endless]


def test_a_second_pause_of_a_scope_replaces_the_first(any_client: Client) -> None:
    any_client.pause("vendor:aliyun", lasting=60)
    longer = any_client.pause("vendor:aliyun", lasting=3600)
    assert any_client.pauses() == [longer]


def test_a_limit_is_set_and_cleared(any_client: Client) -> None:
    made = any_client.set_limit("live-cn", OPERATION, 2.5, lasting=3600, reason="half")
    assert (made.account, made.operation, made.limit, made.by, made.reason) == ("live-cn", OPERATION, 2.5, ME, "half")
    assert any_client.limits() == [made]
    assert any_client.clear_limit("live-cn", OPERATION)
    assert not any_client.clear_limit("live-cn", OPERATION)
    assert any_client.limits() == []


def test_a_limit_above_the_vendors_page_needs_a_word(any_client: Client) -> None:
    with refused("limit", "10 calls per second", "--above-vendor"):
        any_client.set_limit("live-cn", OPERATION, 10.5)
    assert any_client.set_limit("live-cn", OPERATION, 10).limit == 10
    assert any_client.set_limit("live-cn", OPERATION, 20, above_vendor=True).limit == 20


@pytest.mark.parametrize("limit", [0, -1, 0.0009, 100_001, float("nan"), float("inf"), "2", True, None])
def test_a_limit_that_is_none_is_refused_with_what_is_allowed(any_client: Client, limit: float) -> None:
    with refused("limit", "0.001 to 100000"):
        any_client.set_limit("live-cn", OPERATION, limit)


def test_what_is_wrong_is_refused_before_anything_is_changed(any_client: Client) -> None:
    with refused("scope", "vendor:aliyun", "vendor:tencent", "all"):
        any_client.pause("vendor:aws")
    with refused("scope"):
        any_client.resume("live-cn.live.NoSuchAction")
    with refused("lasting", "366 days"):
        any_client.pause("all", lasting=timedelta(days=367))
    with refused("lasting"):
        any_client.set_limit("live-cn", OPERATION, 2, lasting=0)
    with refused("reason", "500"):
        any_client.pause("all", reason="x" * 501)
    with refused("reason", "control characters"):
        any_client.pause("all", reason="a\x1b[2Jb")
    with refused("by"):
        any_client.resume("all", by="a\nb")
    with refused("operation", OPERATION):
        any_client.set_limit("live-cn", "live.StopMPUTas", 2)
    with refused("account"):
        any_client.clear_limit("Live CN", OPERATION)
    assert (any_client.pauses(), any_client.limits()) == ([], [])


@pytest.mark.parametrize("scope", ["live-ch", "live-ch.live.StopMPUTask", "trtc-sg.live.StopMPUTask"])
def test_an_account_that_no_worker_has_is_refused(any_client: Client, scope: str) -> None:
    with pytest.raises(UnknownAccount):
        any_client.pause(scope)
    assert any_client.pauses() == []


@pytest.mark.usefixtures("accounts")
def test_while_jobs_wait_an_account_without_a_worker_is_paused_and_limited(redis_url: str, real_redis: Redis) -> None:
    with Client(redis_url) as client:
        client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="live-cn")
    real_redis.delete(ACCOUNTS)
    KnownAccounts(real_redis).publish({"live-de": "aliyun"})
    with Client(redis_url) as client:
        client.pause("live-cn")
        client.set_limit("live-cn", OPERATION, 2)
        assert ([one.scope for one in client.pauses()], len(client.limits())) == (["live-cn"], 1)


def test_a_limit_of_an_operation_at_another_vendor_is_refused(any_client: Client) -> None:
    with pytest.raises(UnknownAccount, match="tencent"):
        any_client.set_limit("trtc-sg", OPERATION, 2)


@pytest.mark.usefixtures("accounts")
def test_the_asynchronous_client_does_the_same(redis_url: str) -> None:
    async def use(client: AsyncClient) -> None:
        pause = await client.pause("live-cn", lasting=60, reason="r", by="b")
        limit = await client.set_limit("live-cn", OPERATION, 20, lasting=60, reason="r", above_vendor=True, by="b")
        assert (await client.pauses(), await client.limits(), await client.holds()) == ([pause], [limit], [])
        assert await client.resume("live-cn", by="b")
        assert await client.clear_limit("live-cn", OPERATION, by="b")
        await client.close()

    asyncio.run(use(AsyncClient(redis_url)))
    asyncio.run(use(RecordingAsyncClient()))


def test_a_control_whose_time_is_over_is_not_shown(client: Client, real_redis: Redis) -> None:
    past = datetime.now(UTC) - MINUTE
    store = ControlStore(real_redis)
    store.pause(Pause(scope="all", by="x", at=past, until=past + MINUTE / 2))
    store.set_limit(Limit(account="live-cn", operation=OPERATION, limit=1, by="x", at=past, until=past + MINUTE / 2))
    assert (client.pauses(), client.limits()) == ([], [])
    assert real_redis.hlen(CONTROLS) == 3, "the sweep removes them"


# The command line


@pytest.mark.usefixtures("accounts")
@pytest.mark.long
def test_the_command_line_pauses_lists_and_resumes(redis_url: str) -> None:
    nothing = run(redis_url, "pause")
    assert (nothing.returncode, nothing.stdout) == (0, "nothing is paused, and no account is held\n")
    paused = run(redis_url, "pause", "live-cn", "--for", "30m", "--reason", "the vendor asked us to")
    assert paused.returncode == 0, paused.stderr
    header, row, reason = paused.stdout.splitlines()
    assert header.split() == ["PAUSED", "UNTIL", "BY"]
    assert row.split()[0] == "live-cn"
    assert row.endswith(ME)
    assert reason == "  the vendor asked us to"
    assert run(redis_url, "pause", "all").returncode == 0
    listed = run(redis_url, "pause", "--json")
    assert [(one["kind"], one["scope"], one["by"]) for one in objects(listed.stdout)] == [
        ("pause", "live-cn", ME),
        ("pause", "all", ME),
    ]
    resumed = run(redis_url, "resume", "live-cn")
    assert (resumed.returncode, resumed.stdout, resumed.stderr) == (0, "resumed  live-cn\n", "still paused: all\n")
    again = run(redis_url, "resume", "live-cn")
    assert (again.returncode, again.stdout) == (1, "live-cn is neither paused nor held\n")


@pytest.mark.usefixtures("accounts")
@pytest.mark.long
def test_the_command_line_sets_lists_and_clears_limits(redis_url: str) -> None:
    assert run(redis_url, "limit", "list").stdout == "no limit is set\n"
    done = run(redis_url, "limit", "set", "live-cn", OPERATION, "2.5", "--for", "1h", "--reason", "half")
    assert done.returncode == 0, done.stderr
    header, row, reason = done.stdout.splitlines()
    assert header.split() == ["LIMIT", "LANE", "UNTIL", "BY"]
    assert row.split()[:2] == ["2.5/s", f"live-cn.{OPERATION}"]
    assert reason == "  half"
    (listed,) = objects(run(redis_url, "limit", "list", "--json").stdout)
    assert (listed["kind"], listed["account"], listed["operation"], listed["limit"]) == (
        "limit",
        "live-cn",
        OPERATION,
        2.5,
    )
    assert run(redis_url, "limit", "clear", "live-cn", OPERATION).stdout == f"cleared  live-cn.{OPERATION}\n"
    none = run(redis_url, "limit", "clear", "live-cn", OPERATION)
    assert (none.returncode, none.stdout) == (1, f"no limit is set for live-cn.{OPERATION}\n")


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["pause", "vendor:aws"], "vendor:aliyun, vendor:tencent"),
        (["pause", "live-ch"], "did you mean live-cn?"),
        (["pause", "live-cn", "--for", "soon"], "90, 30s, 5m, 2h, 7d"),
        (["pause", "live-cn", "--for", "0"], "longer than 0 and at most 366d"),
        (["pause", "--for", "5m"], "need a SCOPE"),
        (["resume", "everything!"], "vendor:aliyun"),
        (["limit", "set", "live-cn", OPERATION, "fast"], "0.001 to 100000"),
        (["limit", "set", "live-cn", OPERATION, "0"], "pause the lane"),
        (["limit", "set", "live-cn", OPERATION, "11"], "--above-vendor"),
        (["limit", "set", "live-cn", "live.StopMPU", "1"], "live.StopMPUTask"),
        (["limit", "set", "live-cn", OPERATION, "1", "--for", "400d"], "366d"),
    ],
)
def test_bad_input_exits_2_and_says_what_is_allowed(redis_url: str, words: list[str], allowed: str) -> None:
    done = run(redis_url, *words)
    assert done.returncode == 2, done.stdout
    assert allowed in done.stderr
    with Client(redis_url) as client:
        assert (client.pauses(), client.limits()) == ([], [])


def test_what_the_tables_show_fits_80_columns_and_escapes_what_others_wrote(redis_url: str, real_redis: Redis) -> None:
    store = ControlStore(real_redis)
    at = datetime.now(UTC)
    store.pause(Pause(scope="live-cn.live.StopLivePullToPush", by="ann@ops-12", reason="\x1b[2J" + "x" * 200, at=at))
    done = run(redis_url, "pause")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    hold = {"account": "live-cn", "at": at.isoformat(), "operation": OPERATION, "code": "InvalidAccessKeyId.NotFound"}
    real_redis.hset(CONTROLS, "hold live-cn", json.dumps(hold))
    held = run(redis_url, "pause").stdout
    assert "HELD" in held
    assert "InvalidAccessKeyId.NotFound" in held
    real_redis.delete(CONTROLS)
