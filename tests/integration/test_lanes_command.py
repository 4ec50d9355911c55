"""``streamstop lanes`` and ``client.lanes()`` on a real Redis: which lanes are shown, and what a look costs."""

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Command, Lane
from streamstop._core.lane_view import LaneState
from streamstop.operations import OPERATIONS, StopMPUTask
from streamstop_simulator.child_process import end
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.client_connections import connections_of
from tests.support.known_accounts import publish_for_an_hour
from tests.support.lane_driver import LaneDriver
from tests.support.manual_clock import ManualClock
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.terminal_svg import output_of

LIVE, RTC = Lane("live-cn", "live.StopMPUTask"), Lane("live-cn", "rtc.StopMPUTask")
KEPT = ("--appendonly", "yes", "--appendfsync", "always")
OTHER = Lane("live-de", "live.StopMPUTask")


def stop(account: str, number: int = 1) -> Command:
    return Command(operation=StopMPUTask(app_id="a", task_id=f"t-{number}"), account=account)


def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "streamstop", "lanes", *arguments, "--redis", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def publish(client: Client, **vendors: str) -> None:
    """Publish accounts, as a running worker does."""
    publish_for_an_hour(
        connections_of(client).redis, {name.replace("_", "-"): vendor for name, vendor in vendors.items()}
    )


def test_a_lane_that_lately_held_something_is_shown_and_with_every_all_of_the_accounts(
    client: Client, real_redis: Redis
) -> None:
    driver = LaneDriver(real_redis, ManualClock(), lane=RTC)
    driver.publish("x")
    assert driver.take() == ["x"]
    assert driver.finish("x")
    client.enqueue_many([stop("live-cn"), stop("live-de"), stop("live-de", 2)])
    publish(client, live_cn="aliyun")
    assert [view.lane for view in client.lanes()] == [LIVE, OTHER]
    assert [view.lane for view in client.lanes(recent=True)] == [LIVE, RTC, OTHER]
    assert [view.lane for view in client.lanes(accounts=["live-cn"], recent=True)] == [LIVE, RTC]
    every = client.lanes(every=True)
    aliyun = [name for name, one in OPERATIONS.items() if one.spec.product.vendor.name == "aliyun"]
    assert [view.lane for view in every] == [*(Lane("live-cn", name) for name in sorted(aliyun)), OTHER]
    states = {view.lane: view.state for view in every}
    assert (states[LIVE], states[RTC], states[OTHER]) == (LaneState.RUNNING, LaneState.IDLE, LaneState.NO_WORKER)


def test_the_age_of_the_oldest_waiting_job_is_by_redis_clock(client: Client) -> None:
    before = datetime.now(UTC)
    client.enqueue_many([stop("live-cn", number) for number in range(3)])
    (view,) = client.lanes([LIVE])
    assert view.oldest_waiting_at is not None
    assert view.oldest_waiting is not None
    assert before <= view.oldest_waiting_at <= view.at
    assert view.oldest_waiting == view.at - view.oldest_waiting_at


def test_many_lanes_are_read_in_pages_that_each_have_the_whole_timeout(client: Client, real_redis: Redis) -> None:
    publish(client, **{f"a{number}": "aliyun" for number in range(60)})
    client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="a7")
    real_redis.config_resetstat()
    views = client.lanes(every=True)
    assert len(views) == 60 * 12
    assert sum(view.waiting for view in views) == 1
    stats: Any = real_redis.info("commandstats")
    assert sum(stats[f"cmdstat_{name}"]["calls"] for name in ("llen", "zcard", "hmget", "lindex", "zscore")) == 720 * 12
    assert stats["cmdstat_time"]["calls"] == 2 * 8 + 1, "two a page, and one of the accounts"


def test_the_asynchronous_client_takes_the_same_arguments(client: Client, redis_url: str) -> None:
    client.enqueue_many([stop("live-cn"), stop("live-de")])
    publish(client, live_cn="aliyun")

    async def look() -> list[Lane]:
        async with AsyncClient(redis_url) as operator:
            return [view.lane for view in await operator.lanes(accounts=["live-cn"], recent=True)]

    assert asyncio.run(look()) == [LIVE]


def test_the_command_prints_a_table_or_json(client: Client, redis_url: str) -> None:
    assert run(redis_url).stdout.startswith("no lane holds or lately held a job")
    assert run(redis_url, "--json").stdout == ""
    client.enqueue_many([stop("live-cn"), stop("live-cn", 2), stop("live-de")])
    publish(client, live_cn="aliyun", trtc_sg="tencent")
    table = run(redis_url)
    assert (table.returncode, table.stderr) == (0, "")
    assert [line.split()[:3] for line in table.stdout.splitlines()[1:3]] == [
        ["live-cn", "live.StopMPUTask", "2"],
        ["live-de", "live.StopMPUTask", "1"],
    ]
    assert table.stdout.splitlines()[2].endswith("no worker: no running worker has this account")
    assert table.stdout.splitlines()[-1] == "2 lanes: 3 waiting, 0 in flight, 0 deferred"
    data = [json.loads(line) for line in run(redis_url, "live-de", "--json").stdout.splitlines()]
    assert [(one["account"], one["waiting"], one["state"]) for one in data] == [("live-de", 1, "no_worker")]
    everything = run(redis_url, "--all", "--sort", "waiting", "--json").stdout.splitlines()
    counts = [json.loads(line)["waiting"] for line in everything]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 1 + len(OPERATIONS)


@pytest.mark.long
def test_an_account_that_nobody_has_is_refused_and_one_with_jobs_is_shown(client: Client, redis_url: str) -> None:
    client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="live-de")
    publish(client, live_cn="aliyun")
    assert run(redis_url, "live-de").returncode == 0
    assert run(redis_url, "live-cn").returncode == 0
    wrong = run(redis_url, "live-cm")
    assert wrong.returncode == 2
    assert "no running worker has account 'live-cm' (did you mean live-cn" in wrong.stderr


@pytest.mark.long
def test_the_watching_survives_a_restart_of_redis_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"

    def tables() -> int:
        return out.read_text().count("1 lane: 1 waiting")

    with redis_server(*KEPT, folder=tmp_path) as server, Client(server.url) as client:
        client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="live-cn")
        command = [sys.executable, "-m", "streamstop", "lanes", "--watch", "--redis", server.url]
        with out.open("w") as stdout, errors.open("w") as stderr:
            watching = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        try:
            eventually(lambda: tables() > 0, "the first table")
            server.process.kill()
            server.process.wait()
            eventually(lambda: "trying again" in errors.read_text(), "the failure is told")
            before = tables()
            with redis_server(*KEPT, folder=tmp_path, port=server.port):
                eventually(lambda: tables() > before, "a table after the restart")
                watching.send_signal(signal.SIGINT)
                assert watching.wait(TIMEOUT_S) == 130
        finally:
            end(watching, 10)
    assert "Traceback" not in errors.read_text()


@pytest.mark.long
def test_a_terminal_of_80_columns_holds_every_line(client: Client, redis_url: str) -> None:
    client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="a" * 63)
    shown = output_of([sys.executable, "-m", "streamstop", "lanes", "--redis", redis_url])
    lines = [click.unstyle(line) for line in shown.replace("\r", "").splitlines()]
    assert "a" * 63 in lines
    assert max(map(len, lines)) <= 80
    assert "\x1b[" in shown, "it has colours"
