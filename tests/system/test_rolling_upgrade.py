"""The upgrade between versions whose workers share lanes: workers first, one at a time, under load; then producers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamstop import Result
from tests.support.mixed_fleet import Fleet, ends_told, mixed_fleet
from tests.support.polling import eventually
from tests.support.versions import LANES, earlier_version, present_version
from tests.support.workers import WorkerProcess

pytestmark = [pytest.mark.long, pytest.mark.paced]

#: How many jobs each producer enqueues at once: five seconds of work, and a minute's while the lanes are held.
BACKLOG = 800


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Fleet]:
    """Return a world without workers, and the means to start those of either version."""
    versions = {"old": earlier_version(LANES, tmp_path_factory.mktemp("old")), "new": present_version()}
    with mixed_fleet(versions, tmp_path) as made:
        yield made


def await_share(one: WorkerProcess) -> None:
    """Wait until the worker has ended some more jobs."""
    before = ends_told(one).total()
    eventually(lambda: ends_told(one).total() >= before + 20, "in work")


def test_old_and_new_workers_and_producers_work_side_by_side(fleet: Fleet) -> None:
    with fleet.producer("old") as old, fleet.producer("new") as new:
        with fleet.held_lanes():
            workers = [fleet.start("old"), fleet.start("old")]
            ids: list[str] = []
            for producer, word in ((old, "before"), (new, "beside")):
                if producer is new:
                    workers.append(fleet.start("new"))
                fleet.spoil(word, range(0, BACKLOG, 32))
                producer.ask("register", "room", first=len(ids), number=60)
                ids += producer.ask("enqueue", word, number=BACKLOG)
            shutdown = fleet.world.client.shutdown(*old.ask("stop", "room"))
            for one in workers:
                await_share(one)
            eventually(lambda: sum(lane.deferred for lane in fleet.lanes()) > 0, "jobs deferred")
            assert sum(lane.waiting for lane in fleet.lanes()) > 100, "there is a backlog"
            assert not shutdown.progress().done_at, "the shutdown is open"

        with fleet.load("old", "still") as still, fleet.load("new", "anew") as anew:
            for one in workers[:2]:
                assert one.stop() == 0
                await_share(fleet.start("new"))
            # Old producers stay: new workers answer them, and carry out their shutdowns.
            late = old.ask("enqueue", "late", number=40)
            assert {Result(word) for word in old.ask("outcomes", ",".join(late))} == {Result.STOPPED}
            old.ask("register", "late-room", first=1000, number=20)
            late_shutdown = fleet.world.client.shutdown(*old.ask("stop", "late-room"))

        outcomes = fleet.outcomes([*ids, *still, *anew, *late])
        assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
        assert {outcome.calls for outcome in outcomes} == {1, 4}, "the spoilt ones were tried four times"
        fleet.assert_complete(shutdown, 120)
        fleet.assert_complete(late_shutdown, 20)
    fleet.assert_one_pace()
    fleet.assert_drained()
    fleet.assert_each_stopped_once()
