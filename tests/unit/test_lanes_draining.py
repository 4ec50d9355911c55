"""Draining a lane: what happens if it is interrupted, or a worker takes jobs between two of its steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamstop._core.constants import DEAD
from streamstop._core.drained import DrainFilter
from streamstop._redis import drain
from streamstop._wire.messages import celery_message
from tests.support.lane_driver import LaneDriver, announce

OLD, NEW = timedelta(hours=1), timedelta(0)


def put(lane: LaneDriver, name: str, age: timedelta = OLD) -> None:
    argument = {
        "v": 1,
        "operation": lane.lane.operation,
        "account": lane.lane.account,
        "params": {"AppId": "a", "TaskId": name},
        "enqueued_at": lane.clock.seconds() - age.total_seconds(),
    }
    lane.push(celery_message(lane.job_id(name), lane.lane, argument).encode())


def older(lane: LaneDriver) -> DrainFilter:
    before = datetime.fromtimestamp(lane.clock.seconds() - 60, UTC)
    return DrainFilter(before=before, room=None, by="ann@ops", dry_run=False)


@pytest.fixture
def mixed(lane: LaneDriver, monkeypatch: pytest.MonkeyPatch) -> LaneDriver:
    """A lane with twelve jobs, whose every second job is old, and a drain that takes nothing from beyond the front."""
    monkeypatch.setattr(drain, "PAGE", 2)
    monkeypatch.setattr(drain, "_FRONT", 0)
    for number in range(6):
        put(lane, f"new{number}", NEW)
        put(lane, f"old{number}")
    announce(lane.redis, lane.lane)
    return lane


def names(lane: LaneDriver) -> list[str]:
    """Let a worker call everything that the lane gives within some seconds; return the jobs' names."""
    called = []
    for _ in range(50):
        for name in lane.take(1):
            lane.finish(name)
            called.append(name)
        lane.clock.advance(timedelta(seconds=0.2))
    return called


def test_old_jobs_between_new_ones_leave_and_the_new_ones_keep_their_order(mixed: LaneDriver) -> None:
    pages = list(mixed.lanes.draining(mixed.lane, older(mixed)))
    assert sum(page.waiting for page in pages) == 6
    assert mixed.redis.llen(mixed.lane.queue) == 6
    assert mixed.lanes.cancelled() == {mixed.lane: 6}
    assert names(mixed) == [f"new{number}" for number in range(6)]


def test_an_interrupted_drain_leaves_nothing_that_harms_a_worker(mixed: LaneDriver) -> None:
    steps: Any = mixed.lanes.draining(mixed.lane, older(mixed))
    for _ in range(4):
        next(steps)
    steps.close()  # as on Ctrl-C
    assert mixed.redis.llen(mixed.lane.queue) == 12 - 4
    assert names(mixed) == ["new0", "new1", "new2", "new3", "new4", "old4", "new5", "old5"]


def test_a_killed_drain_leaves_nothing_that_harms_a_worker(mixed: LaneDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: Any = mixed.lanes.draining(mixed.lane, older(mixed))
    for _ in range(4):
        next(steps)
    monkeypatch.setattr(mixed.redis, "lrem", lambda *_: 0)  # it never gets to what it does last
    steps.close()
    assert mixed.redis.llen(mixed.lane.queue) > 12 - 4, "replaced messages are left"
    assert names(mixed) == ["new0", "new1", "new2", "new3", "new4", "old4", "new5", "old5"]
    assert mixed.redis.zcard(DEAD) == 0
    assert mixed.redis.llen(mixed.lane.queue) == 0


def test_a_job_that_a_worker_takes_between_reading_and_cancelling_is_called(
    mixed: LaneDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = drain.Drain._cancel
    taken: list[str] = []

    def take_first(self: Any, *arguments: Any) -> Any:
        mixed.clock.advance(timedelta(seconds=0.2))
        taken.extend(mixed.take(1))
        return script(self, *arguments)

    monkeypatch.setattr(drain.Drain, "_cancel", take_first)
    pages = list(mixed.lanes.draining(mixed.lane, older(mixed)))
    cancelled = sum(page.waiting for page in pages)
    old_taken = [name for name in taken if name.startswith("old")]
    assert old_taken
    assert cancelled == 6 - len(old_taken)
    assert mixed.lanes.cancelled() == {mixed.lane: cancelled}, "not those that a worker has"
    assert all(mixed.record(name) is None for name in taken)
    for name in taken:
        assert mixed.finish(name)
