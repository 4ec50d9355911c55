"""The upgrade from workers that share no lanes with ours: all old workers stop, new ones start, and nothing is lost.

Producers of the old version stay, and reach the new workers.
"""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from streamstop import Result
from streamstop._core.constants import READY
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView
from streamstop.operations import StopMPUTask
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.mixed_fleet import Fleet, ends_told, mixed_fleet
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.versions import ONE_QUEUE, NoHistory, Version, earlier_version, present_version

pytestmark = [pytest.mark.long, pytest.mark.paced]

#: A stop that a worker died with is called once more.
STOPPED = {Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Version]:
    """Return both versions' code."""
    return {"old": earlier_version(ONE_QUEUE, tmp_path_factory.mktemp("old")), "new": present_version()}


@pytest.fixture
def fleet(versions: dict[str, Version], tmp_path: Path) -> Iterator[Fleet]:
    """Return a world without workers, and the means to start those of either version."""
    with mixed_fleet(versions, tmp_path) as made:
        yield made


def admitted(fleet: Fleet) -> int:
    """Return how many jobs lie in the queue from which workers of the old version took them."""
    return sum(fleet.world.redis.llen(key) for key in (READY, f"{READY}\x06\x163"))


@pytest.mark.parametrize("stopped", ["SIGTERM", "SIGKILL"])
def test_new_workers_take_over_all_that_stopped_old_ones_leave(fleet: Fleet, stopped: str) -> None:
    with fleet.producer("old") as old, fleet.producer("new") as new:
        with fleet.held_lanes():
            fleet.spoil("backlog", range(8, 200, 16))
            old_workers = [fleet.start("old"), fleet.start("old")]
            old.ask("register", "room", number=80)
            ids = old.ask("enqueue", "backlog", number=600)
            (shutdown_id,) = old.ask("stop", "room")
            shutdown = fleet.world.client.shutdown(shutdown_id)
            eventually(lambda: all(ends_told(one).total() >= 30 for one in old_workers), "each with a share done")
            eventually(lambda: sum(view.deferred for view in fleet.lanes()) >= 3, "jobs deferred")
            for one in old_workers:
                one.signal(getattr(signal, stopped))
            for one in old_workers:
                one.process.wait(TIMEOUT_S)
            ids += old.ask("enqueue", "between", number=40)
            left = fleet.lanes()
            assert sum(view.waiting for view in left) > 100, "there is a backlog"
            assert sum(view.deferred for view in left) > 0, "there are deferred jobs"
            assert admitted(fleet) > 0, "jobs lie in the old workers' queue"
            assert not shutdown.progress().done_at, "the shutdown is open"

        new_workers = [fleet.start("new"), fleet.start("new")]
        names = {account.name for account in DEFAULT_ACCOUNTS}
        eventually(lambda: set(fleet.world.client.accounts()) == names, "the accounts published")
        with fleet.load("old", "still") as still, fleet.load("new", "anew") as anew:
            eventually(lambda: all(ends_told(one).total() >= 60 for one in new_workers), "in work")
            late_ids = old.ask("enqueue", "late", number=40)
            assert {Result(word) for word in old.ask("outcomes", ",".join(late_ids))} == {Result.STOPPED}
            old.ask("register", "later-room", first=1000, number=20)
            later = fleet.world.client.shutdown(*old.ask("stop", "later-room"))
            mine = new.ask("enqueue", "mine", number=20)
            assert {Result(word) for word in new.ask("outcomes", ",".join(mine))} == {Result.STOPPED}

        outcomes = fleet.outcomes([*ids, *still, *anew, *late_ids, *mine])
        assert {outcome.result for outcome in outcomes} <= STOPPED
        fleet.assert_complete(shutdown, 80)
        fleet.assert_complete(later, 20)
    fleet.assert_one_pace()
    eventually(lambda: admitted(fleet) == 0, "the old workers' queue empty")
    fleet.assert_drained()
    if stopped == "SIGTERM":
        assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
        fleet.assert_each_stopped_once()


def test_an_old_producer_takes_no_job_that_a_new_worker_has_put_back(fleet: Fleet) -> None:
    lane = Lane("demo-aliyun-1", "live.StopMPUTask")
    task = StopMPUTask(app_id="a", task_id="first-0").params
    # As long as the worker runs: it may call again before it is stopped.
    fleet.world.simulator.add_fault(
        "throttle", account=lane.account, task=task, retry_after=timedelta(seconds=1), times=99
    )
    with fleet.producer("old") as old:
        ids = old.ask("enqueue", "first")
        assert admitted(fleet) == 1, "a lane without a pace: it was admitted to old workers"
        worker = fleet.start("new")
        worker.await_line("throttled: the lane rests")
        assert worker.stop() == 0
        fleet.world.simulator.clear_faults()

        def view() -> LaneView:
            return fleet.world.client.lanes([lane])[0]

        assert view().waiting == 1
        eventually(lambda: not view().rest, "the rest over")
        ids += old.ask("enqueue", "second")
        assert (view().waiting, admitted(fleet)) == (2, 0)
    assert fleet.world.client.dead_letters.count() == 0
    fleet.start("new")
    first, second = sorted(fleet.outcomes(ids), key=lambda outcome: ids.index(outcome.job_id))
    assert (first.result, second.result) == (Result.STOPPED, Result.STOPPED)
    assert first.calls >= 2
    assert second.calls == 1


def test_without_history_the_error_says_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(NoHistory, match="git fetch --unshallow"):
        earlier_version("no-such-revision", tmp_path)
