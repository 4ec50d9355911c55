"""Pauses, limits and holds on real parts. The simulator counts the calls, so that none can hide."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from streamstop import Command, Job, Outcome, Result
from streamstop._core.constants import SCHEDULE
from streamstop.operations import GetMPUTaskStatus, StopLiveMPUTask, StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_simulator import Call
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.executable import objects, run
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.redis_content import SURVIVES_A_KILL
from tests.support.still import await_nothing_in_flight
from tests.support.workers import accounts_toml
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.paced

LANE = f"{ALIYUN}.live.StopMPUTask"
LIMITS = {"live.StopMPUTask": 20.0, "live.StopLivePullToPush": 20.0, "live.StopLiveMPUTask": 20.0}


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, workers=2, limits=LIMITS, redis_options=SURVIVES_A_KILL) as made:
        made.simulator.settings(auto_start=True, latency_ms=30)
        made.await_account(ALIYUN)
        made.await_account(TENCENT)
        yield made


def stops(count: int, name: str = "t", account: str = ALIYUN) -> list[Command]:
    return [Command(operation=StopMPUTask(app_id="app", task_id=f"{name}{n}"), account=account) for n in range(count)]


def at_three_lanes(count: int) -> list[Command]:
    makers: Sequence[Callable[[str], StopMPUTask | StopLivePullToPush | StopLiveMPUTask]] = (
        lambda task: StopMPUTask(app_id="app", task_id=task),
        lambda task: StopLivePullToPush(region="cn-shanghai", task_id=task),
        lambda task: StopLiveMPUTask(app_id="app", task_id=task),
    )
    return [Command(operation=makers[n % 3](f"h{n}"), account=ALIYUN) for n in range(count)]


def all_ended_well(made: World, jobs: Sequence[Job], timeout: float = 90) -> None:
    outcomes = list(made.client.outcomes(jobs, timeout))
    assert len(outcomes) == len(jobs)
    assert {outcome.result for outcome in outcomes} <= {Result.STOPPED, Result.ALREADY_STOPPED}


def await_look(made: World, *lanes: str) -> None:
    """Wait until a worker has looked at each of the lanes and left it as it is. It holds jobs, and none is in flight.

    Each look changes when the next one is due. The first change may be of an announcement.
    """
    for lane in lanes:
        for _ in range(2):
            await_other_due(made, lane)


def await_other_due(made: World, lane: str) -> None:
    due = made.redis.zscore(SCHEDULE, lane)
    eventually(lambda: made.redis.zscore(SCHEDULE, lane) != due, f"{lane} is scheduled anew")


def most_in_a_second(calls: Sequence[Call], since: float, until: float) -> int:
    """Return the most calls in any second that lies between two moments of the simulator's clock."""
    moments = sorted(call.arrived_monotonic for call in calls if since <= call.arrived_monotonic <= until)
    return max((sum(first <= moment < first + 1 for moment in moments) for first in moments), default=0)


@pytest.mark.parametrize("scope", [LANE, ALIYUN, "vendor:aliyun"])
@pytest.mark.long
def test_a_paused_scope_is_not_called_from_a_second_after_on_and_goes_on_when_it_is_resumed(
    two_workers: World, scope: str
) -> None:
    jobs = two_workers.client.enqueue_many(stops(120))
    two_workers.simulator.wait_for_calls(5, ALIYUN)
    assert run(two_workers.server.url, "pause", scope, "--reason", "a test").returncode == 0
    paused_at = time.monotonic()  # the simulator runs in this process
    late = two_workers.client.enqueue_many(stops(3, "late"))
    two_workers.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="other"), account=TENCENT).outcome(TIMEOUT_S)
    await_nothing_in_flight(two_workers.client, ALIYUN)
    await_look(two_workers, LANE)
    calls = two_workers.simulator.calls(ALIYUN)
    assert max(call.arrived_monotonic for call in calls) < paused_at + 1
    assert all(job.peek() is None for job in late)
    assert run(two_workers.server.url, "resume", scope).returncode == 0
    all_ended_well(two_workers, [*jobs, *late])
    assert two_workers.simulator.summary().over_limit == 0


@pytest.mark.long
def test_a_pause_of_all_is_an_emergency_stop_that_survives_restarts_of_everything(two_workers: World) -> None:
    jobs = two_workers.client.enqueue_many(stops(100))
    jobs += two_workers.client.enqueue_many(
        [Command(operation=StopStreamIngest(sdk_app_id=1, task_id=f"i{n}"), account=TENCENT) for n in range(100)]
    )
    two_workers.simulator.wait_for_calls(10)
    assert run(two_workers.server.url, "pause", "all").returncode == 0
    paused_at = time.monotonic()
    for running in two_workers.workers:
        assert running.stop() == 0  # the calls under way have ended
    called = len(two_workers.simulator.calls())
    two_workers.start_worker()
    later = two_workers.client.enqueue(GetMPUTaskStatus(app_id="app", task_id="new-lane"), account=OTHER_ALIYUN)
    await_look(two_workers, LANE, f"{TENCENT}.trtc.StopStreamIngest", f"{OTHER_ALIYUN}.live.GetMPUTaskStatus")
    calls = two_workers.simulator.calls()
    assert (len(calls), max(call.arrived_monotonic for call in calls) < paused_at + 1) == (called, True)
    assert later.peek() is None
    assert two_workers.client.resume("all")
    all_ended_well(two_workers, jobs)
    assert later.outcome(TIMEOUT_S).result is Result.STATUS


@pytest.mark.long
def test_a_pause_ends_by_itself_and_what_expired_meanwhile_was_not_called(two_workers: World) -> None:
    two_workers.client.pause(ALIYUN, lasting=3)
    brief = timedelta(milliseconds=1)  # it ends so however late it comes, after the pause too
    expiring = two_workers.client.enqueue(StopMPUTask(app_id="app", task_id="x"), account=ALIYUN, expires_in=brief)
    kept = two_workers.client.enqueue(StopMPUTask(app_id="app", task_id="y"), account=ALIYUN)
    assert expiring.outcome(TIMEOUT_S).result is Result.EXPIRED
    assert kept.outcome(TIMEOUT_S).result is Result.STOPPED
    assert [call.params["TaskId"] for call in two_workers.simulator.calls(ALIYUN)] == ["y"]
    eventually(
        lambda: [event.kind for event in two_workers.client.events(account=ALIYUN)].count("resumed") == 1,
        "the sweep told the end of the pause",
    )
    assert two_workers.client.pauses() == []


@pytest.mark.long
def test_a_pause_survives_the_death_of_redis_and_nothing_is_called_until_it_is_resumed(two_workers: World) -> None:
    jobs = two_workers.client.enqueue_many(stops(150))
    two_workers.simulator.wait_for_calls(5, ALIYUN)
    two_workers.client.pause(ALIYUN, reason="a test")
    (paused,) = two_workers.client.pauses()
    await_nothing_in_flight(two_workers.client, ALIYUN)
    called = len(two_workers.simulator.calls(ALIYUN))
    two_workers.restart_redis(*SURVIVES_A_KILL)
    for name in ("a", "b"):  # the workers serve again, and have looked at every lane
        other = two_workers.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id=name), account=TENCENT)
        assert other.outcome(60).result is Result.STOPPED
    late = two_workers.client.enqueue_many(stops(3, "late"))
    await_look(two_workers, LANE)
    assert two_workers.client.pauses() == [paused]
    (lane,) = two_workers.client.lanes(accounts=[ALIYUN])
    assert (lane.state, lane.in_flight) == ("paused", 0)
    assert len(two_workers.simulator.calls(ALIYUN)) == called < 150
    assert run(two_workers.server.url, "resume", ALIYUN).returncode == 0
    all_ended_well(two_workers, [*jobs, *late])
    assert two_workers.simulator.summary().over_limit == 0


@pytest.mark.parametrize("new", [10, 5], ids=["half", "quarter"])
@pytest.mark.long
def test_a_lower_limit_under_full_load_holds_from_a_second_after_on(two_workers: World, new: int) -> None:
    jobs = two_workers.client.enqueue_many(stops(250))
    two_workers.simulator.wait_for_calls(40, ALIYUN, timeout=timedelta(seconds=30))
    done = run(two_workers.server.url, "limit", "set", ALIYUN, "live.StopMPUTask", str(new))
    assert done.returncode == 0, done.stderr
    set_at = time.monotonic()
    time.sleep(5)
    until = time.monotonic()
    calls = two_workers.simulator.calls(ALIYUN, "live.StopMPUTask")
    assert 0.6 * new <= most_in_a_second(calls, set_at + 1, until) <= new
    assert 12 <= most_in_a_second(calls, 0, set_at) <= 20
    assert most_in_a_second(calls, 0, until) <= 20, "no second that spans the command has more either"
    two_workers.client.set_limit(ALIYUN, "live.StopMPUTask", 20, above_vendor=True)
    all_ended_well(two_workers, jobs)
    calls = two_workers.simulator.calls(ALIYUN, "live.StopMPUTask")
    assert most_in_a_second(calls, 0, time.monotonic()) <= 20
    assert most_in_a_second(calls, until + 1, time.monotonic()) > 10, "the pace is back"
    assert two_workers.simulator.summary().over_limit == 0


# Holds


def revoke(made: World) -> None:
    """Let the vendor know another key for the account than the workers have."""
    (mine,) = at_vendors([one for one in DEFAULT_ACCOUNTS if one.name == ALIYUN])
    made.simulator.add_accounts([replace(mine, access_key_id="the-new-key", access_key_secret="the-new-secret")])


def restore(made: World) -> None:
    made.simulator.add_accounts(at_vendors([one for one in DEFAULT_ACCOUNTS if one.name == ALIYUN]))


def give_workers_the_new_key(made: World) -> None:
    accounts = [
        replace(one, access_key_id="the-new-key", access_key_secret="the-new-secret") if one.name == ALIYUN else one
        for one in DEFAULT_ACCOUNTS
    ]
    made.accounts.write_text(accounts_toml(accounts, made.simulator.url, LIMITS))
    for running in made.workers:
        running.signal(signal.SIGHUP)


def outcomes_by_result(outcomes: Sequence[Outcome]) -> dict[Result, int]:
    return {result: sum(one.result is result for one in outcomes) for result in {one.result for one in outcomes}}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mended", ["restored", "another key"])
@pytest.mark.long
def test_a_revoked_key_holds_its_account_until_the_vendor_accepts_one(two_workers: World, mended: str) -> None:
    jobs = two_workers.client.enqueue_many(at_three_lanes(500))
    two_workers.simulator.wait_for_calls(60, ALIYUN, timeout=timedelta(seconds=60))
    revoke(two_workers)
    (hold,) = eventually(two_workers.client.holds, "the account is held")
    assert (hold.account, hold.code) == (ALIYUN, "InvalidAccessKeyId.NotFound")
    others = two_workers.client.enqueue_many(stops(20, "other", OTHER_ALIYUN))
    all_ended_well(two_workers, others, 30)
    text = "the vendor refuses the account's key: its jobs wait"
    (told,) = eventually(
        lambda: [line for running in two_workers.workers for line in running.lines() if line["event"] == text],
        "a worker says so",
    )
    assert (told["level"], told["account"]) == ("error", ALIYUN)
    refused = [job for job in jobs if isinstance(seen := job.peek(), Outcome) and seen.result is Result.REFUSED]
    assert 1 <= len(refused) <= 5
    if mended == "restored":
        restore(two_workers)
        two_workers.start_worker()  # a worker that starts probes at once
    else:
        give_workers_the_new_key(two_workers)
    outcomes = list(two_workers.client.outcomes(jobs, 120))
    found = outcomes_by_result(outcomes)
    assert found.pop(Result.REFUSED) == len(refused), "no further job ended refused"
    assert sum(found.values()) + len(refused) == 500
    assert found.keys() <= {Result.STOPPED, Result.ALREADY_STOPPED}
    assert two_workers.client.holds() == []
    assert {"key_refused", "held", "released"} <= {event.kind for event in two_workers.client.events(account=ALIYUN)}
    if mended == "another key":
        return
    again = run(two_workers.server.url, *told["requeue"].split()[1:], "--yes", "--wait", "60", "--json")
    assert again.returncode == 0, again.stderr
    assert [one["outcome"]["result"] for one in objects(again.stdout)] == ["stopped"] * len(refused)


@pytest.mark.timeout(300)
@pytest.mark.long
def test_the_shutdown_of_a_held_account_shows_it_and_does_not_know_the_time_left(two_workers: World) -> None:
    revoke(two_workers)
    shutdown = two_workers.client.stop_room("room", at_three_lanes(60))
    eventually(two_workers.client.holds, "the account is held")
    progress = shutdown.progress()
    assert {lane.state for lane in progress.lanes} == {"held"}
    assert progress.seconds_left is None
    assert run(two_workers.server.url, "pause").stdout.splitlines()[0].startswith("HELD")
    restore(two_workers)
    assert run(two_workers.server.url, "resume", ALIYUN).returncode == 0
    ended = shutdown.wait(60)
    assert ended.results.get(Result.REFUSED, 0) <= 5
    assert ended.ended == 60
