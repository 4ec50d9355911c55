"""``streamstop lanes`` and ``streamstop drain`` with workers and vendors that throttle, fail and refuse."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from streamstop import Client, Command, Lane, LaneState, LaneView, Result, ShutdownStatus
from streamstop._redis.accounts import KnownAccounts
from streamstop._wire.messages import celery_message as wire_message
from streamstop.operations import StopMPUTask
from streamstop_simulator import FaultKind
from tests.support.access_rules import OPERATOR, ROOMS, restricted_redis
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import announce
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, OTHER_ALIYUN, World, world

LANE = Lane(ALIYUN, "live.StopMPUTask")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose lane makes two calls a second, so that jobs wait."""
    with world(tmp_path_factory.mktemp("lanes"), limits={LANE.operation: 2}) as made:
        made.await_account(ALIYUN)
        yield made


@pytest.fixture
def clean(made: World) -> Iterator[World]:
    """The world without jobs and faults."""
    yield made
    made.simulator.clear_faults()
    made.client.resume(ALIYUN)

    def are_empty() -> bool:
        for account in (ALIYUN, OTHER_ALIYUN):
            made.client.drain(account)  # again and again: a job in flight may return to its lane
        return all(view.backlog == 0 for view in made.client.lanes())

    eventually(are_empty, "the lanes are empty")


def stops(name: str, count: int, account: str = ALIYUN) -> list[Command]:
    return [
        Command(operation=StopMPUTask(app_id="a", task_id=f"{name}-{number}"), account=account)
        for number in range(count)
    ]


def run(made: World, *arguments: str) -> str:
    command = [sys.executable, "-m", "streamstop", *arguments, "--redis", made.server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(made: World, wanted: Callable[[LaneView], bool], what: str) -> LaneView:
    """Wait until the lane is seen so; return how it was seen."""
    found: list[LaneView] = []

    def look() -> bool:
        found[:] = made.client.lanes([LANE])
        return wanted(found[0])

    eventually(look, lambda: f"{what}: {found}")
    return found[0]


@pytest.mark.long
def test_a_throttled_lane_is_seen_to_rest_with_the_vendors_code(clean: World) -> None:
    clean.simulator.add_fault(FaultKind.THROTTLE, account=ALIYUN, times=1000)
    clean.client.enqueue_many(stops("throttled", 6))
    view = seen(clean, lambda view: view.state is LaneState.RESTING and view.rest.total_seconds() > 1, "resting")
    assert view.last_error is not None
    assert view.last_error.code.startswith("Throttling")
    assert view.state_text.startswith("resting ")
    assert view.state_text.endswith(f" s: {view.last_error.code}")
    assert view.limit == 2
    assert view.pace is not None
    assert view.pace < 1.1, "the pace is halved"
    assert view.oldest_waiting is not None


@pytest.mark.long
def test_a_lane_whose_vendor_is_down_is_seen_to_fail_and_then_to_recover(clean: World) -> None:
    clean.simulator.add_fault(FaultKind.ERROR_503, account=ALIYUN, times=1000)
    clean.client.enqueue_many(stops("failing", 8))
    view = seen(clean, lambda view: view.state is LaneState.FAILING and view.rest.total_seconds() > 0.5, "failing")
    assert view.failing
    assert view.state_text.startswith("failing: probe in ")
    assert view.last_error is not None
    assert view.seconds_left is None
    line = next(line for line in run(clean, "lanes", ALIYUN).splitlines() if LANE.operation in line)
    assert "failing: probe" in line
    clean.simulator.clear_faults()
    clean.client.drain(ALIYUN)
    clean.client.enqueue_many(stops("well", 1))
    seen(clean, lambda view: not view.failing, "recovered")


@pytest.mark.long
def test_a_paused_account_is_drained_and_what_waited_is_never_called(clean: World) -> None:
    clean.client.pause(ALIYUN, by="ann@ops", reason="wrong tasks")
    jobs = clean.client.enqueue_many(stops("paused", 700))
    shutdown = clean.client.stop_room("drained", stops("of a room", 30))
    view = seen(clean, lambda view: view.waiting == 730, "all wait")
    assert (view.state, view.state_text) == (LaneState.PAUSED, "paused by ann@ops: wrong tasks")
    calls = len(clean.simulator.calls(ALIYUN, LANE.operation))
    (data,) = [json.loads(line) for line in run(clean, "lanes", ALIYUN, "--json").splitlines()]
    assert (data["state"], data["waiting"], data["paused"]["reason"]) == ("paused", 730, "wrong tasks")
    drained = json.loads(run(clean, "drain", ALIYUN, "--room", "drained", "--yes", "--json"))
    assert drained["jobs"] == 30
    assert clean.client.lanes([LANE])[0].waiting == 700, "the count falls while the lane is paused"
    assert shutdown.progress().status is ShutdownStatus.DONE or shutdown.progress().results == {Result.CANCELLED: 30}
    assert json.loads(run(clean, "drain", ALIYUN, "--yes", "--json"))["jobs"] == 700
    assert clean.client.lanes([LANE])[0].waiting == 0
    clean.client.resume(ALIYUN)
    last = clean.client.enqueue_many(stops("after", 1))[0]
    assert last.outcome(60).result is Result.NOT_FOUND
    assert len(clean.simulator.calls(ALIYUN, LANE.operation)) == calls + 1
    assert {outcome.result for outcome in clean.client.outcomes(jobs, timeout=TIMEOUT_S)} == {Result.CANCELLED}


def test_a_lane_of_an_account_without_a_worker_says_so(real_redis: Redis, client: Client) -> None:
    lane = Lane("gone", LANE.operation)
    KnownAccounts(real_redis).publish({ALIYUN: "aliyun"})  # as a worker does; a real one would soon defer the job
    real_redis.lpush(lane.queue, celery_message(lane, lane.new_job_id()))
    announce(real_redis, lane)
    view = client.lanes([lane])[0]
    assert (view.state, view.waiting) == (LaneState.NO_WORKER, 1)
    assert client.drain("gone").jobs == 1


def test_an_operator_drains_and_is_refused_nothing() -> None:
    with restricted_redis() as restricted:
        with restricted.client(ROOMS) as rooms:
            rooms.enqueue_many(stops("plain", 450))
            shutdown = rooms.stop_room("r", stops("room", 3), callback={"task": "t"})
        restricted.admin.acl_log_reset()
        with restricted.client(OPERATOR) as operator:
            assert operator.drain(ALIYUN, dry_run=True).jobs == 450
            old = stops("old", 1)[0].to_message(now=datetime.now(UTC) - timedelta(hours=2))
            restricted.admin.lpush(LANE.queue, wire_message(LANE.new_job_id(), LANE, old))
            assert operator.drain(ALIYUN, older_than=3600).jobs == 1
            assert operator.drain(ALIYUN).jobs == 450
            assert operator.shutdown(shutdown.id).progress().pending == 3, "no worker has put them into their lanes"
        denied: Any = restricted.denied()
        assert [one for one in denied if one.startswith(OPERATOR)] == []


def test_the_columns_of_a_pipe_are_for_programs_too(clean: World, tmp_path: Path) -> None:
    out = tmp_path / "lanes"
    clean.client.pause(ALIYUN)
    clean.client.enqueue_many(stops("piped", 3))
    with out.open("w") as stdout:
        command = [sys.executable, "-m", "streamstop", "lanes", "--redis", clean.server.url]
        subprocess.run(command, stdout=stdout, check=True, env={**os.environ, "TERM": "xterm"}, timeout=60)
    (line,) = [line.split() for line in out.read_text().splitlines() if line.startswith(ALIYUN)]
    assert line[:3] == [ALIYUN, LANE.operation, "3"]
