"""Lanes under pauses and limits, on a Redis in memory with a manual clock."""

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop._core.constants import CONTROLS, EVENTS
from streamstop._core.controls import Limit, Pause
from streamstop._core.lane import Lane
from streamstop._redis.controls import ControlStore
from streamstop._redis.rooms import CONTROL
from streamstop._redis.schedule import Book
from tests.support.lane_driver import LaneDriver
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SCOPES = ["all", "vendor:aliyun", "live-cn", "live-cn.live.StopMPUTask"]
OTHER_SCOPES = ["vendor:tencent", "live-us", "live-cn.live.GetMPUTaskStatus"]


@pytest.fixture
def store(redis: Redis) -> ControlStore:
    return ControlStore(redis)


def pause(store: ControlStore, lane: LaneDriver, scope: str = "all", lasting: timedelta | None = None) -> Pause:
    until = None if lasting is None else lane.now() + lasting
    made = Pause(scope=scope, by="ann@ops", at=lane.now(), until=until, reason="night")
    store.pause(made)
    return made


def limit(store: ControlStore, lane: LaneDriver, limit: float, lasting: timedelta | None = None) -> Limit:
    until = None if lasting is None else lane.now() + lasting
    made = Limit(
        account=lane.lane.account, operation=lane.lane.operation, limit=limit, by="ann@ops", at=lane.now(), until=until
    )
    store.set_limit(made)
    return made


def gaps(lane: LaneDriver, count: int) -> list[int]:
    """Return the µs between the slots of the next `count` jobs."""
    slots = []
    for _ in range(count):
        name = lane.take_next()
        lane.finish(name)
        slots.append(lane.taken_jobs[name].slot_us)
    return [later - earlier for earlier, later in itertools.pairwise(slots)]


def events(redis: Redis) -> list[tuple[str, str, str, str, str]]:
    entries: Any = redis.xrange(EVENTS)
    names = (b"kind", b"account", b"operation", b"by", b"text")
    return [tuple(fields[name].decode() for name in names) for _, fields in entries]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_paused_lane_gives_no_job_and_is_looked_at_every_second(
    store: ControlStore, lane: LaneDriver, scope: str
) -> None:
    lane.publish("a", "b")
    assert lane.take_next() == "a"
    pause(store, lane, scope)
    for _ in range(3):
        lane.clock.advance(SECOND)
        assert lane.take() == []
        assert lane.scheduled() == SECOND
    assert store.resume(scope, "bob@ops")
    assert lane.take_next() == "b"


@pytest.mark.parametrize("scope", OTHER_SCOPES)
def test_a_pause_of_another_scope_changes_nothing(store: ControlStore, lane: LaneDriver, scope: str) -> None:
    pause(store, lane, scope)
    lane.publish("a")
    assert lane.take() == ["a"]


def test_a_lane_that_comes_to_be_later_is_paused_too(store: ControlStore, lane: LaneDriver) -> None:
    pause(store, lane, "live-cn")
    lane.publish("a")
    assert lane.take() == []
    store.resume("live-cn", "ann@ops")
    assert lane.take_next() == "a"


def test_a_pause_ends_by_itself_at_its_moment(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a")
    pause(store, lane, "all", 2.5 * SECOND)
    waits = []
    while not lane.take():
        wait = lane.scheduled()
        assert wait is not None
        waits.append(wait / SECOND)
        lane.clock.advance(wait)
    assert waits == [1, 1, 0.5]


def test_of_two_pauses_of_a_lane_the_later_end_counts(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a")
    pause(store, lane, "live-cn", 10 * SECOND)
    pause(store, lane, "all", SECOND)
    lane.clock.advance(9 * SECOND)
    assert lane.take() == []
    assert store.resume("live-cn", "ann@ops")
    lane.clock.advance(SECOND)
    assert lane.take() == ["a"]


def test_a_paused_lane_makes_no_probe_either(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(9))
    for _ in range(5):
        lane.retry(lane.take_next(), delay=timedelta(hours=1))
    pause(store, lane)
    lane.clock.advance(5 * MINUTE)
    assert lane.take() == []


def test_deferred_jobs_of_a_paused_lane_wait(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a")
    lane.retry(lane.take_next(), delay=3 * SECOND)
    pause(store, lane)
    lane.clock.advance(10 * SECOND)
    assert lane.take() == []
    assert lane.scheduled() == SECOND
    store.resume("all", "ann@ops")
    assert lane.take_next() == "a"


def test_steps_of_shutdowns_go_on(store: ControlStore, redis: Redis, clock: ManualClock) -> None:
    steps = LaneDriver(redis, clock, lane=CONTROL)
    pause(store, steps)
    steps.publish("a")
    assert steps.take() == ["a"]


def test_a_job_that_was_taken_and_is_returned_waits(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    pause(store, lane)
    lane.release("a")
    assert (lane.waiting(), lane.take(), lane.scheduled()) == (["a"], [], SECOND)


def test_while_there_is_no_control_a_lane_keeps_nothing_of_one(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a", "b")
    lane.take_next()
    assert "controls" not in lane.pacing()
    pause(store, lane)
    lane.clock.advance(SECOND)
    assert lane.take() == []
    store.resume("all", "ann@ops")
    assert lane.redis.exists(CONTROLS) == 0, "no control is left"
    lane.take_next()
    assert (lane.pacing()["controls"], lane.pacing()["paused"]) == (0, 0)


def test_a_limit_holds_from_the_next_slot_on_until_it_is_cleared(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(20))
    assert set(gaps(lane, 3)) == {103_627}
    limit(store, lane, 5)
    assert gaps(lane, 4)[1:] == [207_254, 207_254]
    assert store.clear_limit(lane.lane, "ann@ops")
    assert gaps(lane, 4)[1:] == [103_627, 103_627]


def test_a_limit_ends_by_itself(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(30))
    limit(store, lane, 5, SECOND)
    lane.take_next()
    lane.clock.advance(SECOND)
    assert gaps(lane, 4)[1:] == [103_627, 103_627]


def test_a_limit_also_says_how_many_jobs_may_be_in_flight(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(9))
    limit(store, lane, 2)
    for _ in range(5):
        lane.take()
        lane.clock.advance(SECOND)
    assert lane.in_flight() == 2


def test_the_end_of_a_very_low_limit_is_noticed_at_once(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a", "b")
    limit(store, lane, 0.001)
    lane.finish(lane.take_next())
    lane.look()
    wait = lane.scheduled()
    assert wait is not None
    assert wait > 15 * MINUTE
    store.clear_limit(lane.lane, "ann@ops")
    before = lane.now()
    assert lane.take_next() == "b"
    assert lane.now() - before < 1.5 * SECOND


def test_a_throttled_lane_keeps_its_share_of_a_limit_that_a_person_sets(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(9))
    limit(store, lane, 5)
    lane.throttle(lane.take_next())
    assert gaps(lane, 2) == [2 * 207_254]


def test_what_has_ended_by_itself_is_removed_with_an_event(store: ControlStore, lane: LaneDriver, redis: Redis) -> None:
    pause(store, lane, "live-cn", SECOND)
    limit(store, lane, 2, SECOND)
    kept = pause(store, lane, "vendor:aliyun", MINUTE)
    lane.clock.advance(SECOND)
    store.end_expired()
    assert store.read().pauses == {"vendor:aliyun": kept}
    assert redis.hkeys(CONTROLS) == [b"version", b"pause vendor:aliyun"]
    assert {(kind, account, operation, by) for kind, account, operation, by, _ in events(redis)[3:]} == {
        ("resumed", "live-cn", "", ""),
        ("limit_cleared", "live-cn", "live.StopMPUTask", ""),
    }
    lane.clock.advance(MINUTE)
    store.end_expired()
    assert redis.exists(CONTROLS) == 0


def test_a_control_that_was_set_again_meanwhile_is_not_removed(store: ControlStore, lane: LaneDriver) -> None:
    pause(store, lane, "all", SECOND)
    lane.clock.advance(SECOND)
    before, now = store._read()
    again = pause(store, lane, "all", MINUTE)
    store._read = lambda: (before, now)  # type: ignore[method-assign]  # as it was read before the change
    store.end_expired()
    assert ControlStore(lane.redis).read().pauses == {"all": again}


def test_every_change_is_an_event_that_says_who_and_why(store: ControlStore, lane: LaneDriver, redis: Redis) -> None:
    pause(store, lane, "live-cn.live.StopMPUTask", timedelta(minutes=30))
    limit(store, lane, 2.5)
    store.resume("live-cn.live.StopMPUTask", "bob@ops")
    store.clear_limit(lane.lane, "bob@ops")
    assert not store.resume("all", "bob@ops")
    assert not store.clear_limit(lane.lane, "bob@ops")
    place = ("live-cn", "live.StopMPUTask")
    name = "live-cn.live.StopMPUTask"
    assert events(redis) == [
        ("paused", *place, "ann@ops", f"{name} is paused until 2026-01-01T00:30:00Z: night"),
        ("limit_set", *place, "ann@ops", f"the limit of {name} is 2.5 calls/s"),
        ("resumed", *place, "bob@ops", f"{name} is resumed"),
        ("limit_cleared", *place, "bob@ops", f"the limit of {name} is cleared"),
    ]


def test_the_version_changes_even_while_the_clock_stands_still(
    store: ControlStore, lane: LaneDriver, redis: Redis
) -> None:
    versions = []
    for scope in SCOPES:
        pause(store, lane, scope)
        versions.append(int(redis.hget(CONTROLS, "version") or 0))
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("value", ["not JSON", "[]", '{"until_us": "soon", "interval": "x", "places": null}'])
def test_a_control_that_cannot_be_read_pauses_and_slows_no_call_wrongly(
    lane: LaneDriver, redis: Redis, value: str
) -> None:
    redis.hset(CONTROLS, mapping={"version": 7, f"limit {lane.lane.name}": value, "pause live-us": value})
    lane.publish(*range(4))
    assert set(gaps(lane, 3)) == {103_627}


def test_a_key_of_another_type_stops_no_lane(lane: LaneDriver, redis: Redis) -> None:
    redis.set(CONTROLS, "another program's")
    lane.publish("a")
    assert lane.take() == ["a"]


def test_a_worker_without_the_account_does_not_read_the_pause_away(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish("a")
    pause(store, lane, "vendor:aliyun")
    assert lane.look(book=Book({"other": "aliyun"}, {}, lane.pace, {})).jobs == []
    assert lane.take() == []


def test_the_hash_holds_what_scripts_read(store: ControlStore, lane: LaneDriver, redis: Redis) -> None:
    limit(store, lane, 2, MINUTE)
    stored: Any = redis.hget(CONTROLS, f"limit {lane.lane.name}")
    assert json.loads(stored)["until_us"] == lane.clock.now_us + 60_000_000
    assert store.read().limit_of(Lane("live-cn", "live.StopMPUTask")) is not None
