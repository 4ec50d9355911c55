"""The journal: the events of lanes, and the counts of vendors' errors, in a Redis in memory."""

from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import Event, EventKind
from streamstop._core.constants import ERROR_COUNTS, EVENTS
from streamstop._core.lane_types import AttemptHistory, CallError, LastCall
from streamstop._redis.journal import Journal
from streamstop._wire.reports import Ended, Retried, Throttled
from tests.support.lane_driver import CALLED_ONCE, ENDED, JUDGED_ONCE, KEPT, WAITS_AGAIN, LaneDriver
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture
def journal(redis: Redis) -> Journal:
    return Journal(redis)


def error(code: str = "Throttling.User", message: str | None = "too fast", *, is_unknown: bool = False) -> CallError:
    return CallError(code, message, "R-1", is_unknown=is_unknown)


def throttle(lane: LaneDriver, name: str, answer: CallError | None = None, hint: timedelta | None = None) -> None:
    answer = answer or error()
    lane.report(Throttled(job=lane.taken_jobs[name], hint=hint, history=CALLED_ONCE, error=answer))


def fail(lane: LaneDriver, name: str, code: str = "ConnectTimeout", history: AttemptHistory = JUDGED_ONCE) -> None:
    lane.report(
        Retried(
            job=lane.taken_jobs[name],
            call=LastCall.FAULT,
            delay=SECOND,
            history=history,
            record=WAITS_AGAIN,
            kept=KEPT,
            error=error(code, None),
        )
    )


def refuse(lane: LaneDriver, name: str, answer: CallError) -> None:
    lane.report(Ended(job=lane.taken_jobs[name], call=LastCall.WELL, record=ENDED, kept=KEPT, error=answer))


def kinds(journal: Journal) -> list[EventKind | str]:
    return [event.kind for event in journal.events()]


def test_an_event_is_read_as_it_was_added(journal: Journal, clock: ManualClock) -> None:
    journal.add(EventKind.WORKER_LOST, "silent for 30 s", by="celery@host")
    (event,) = journal.events()
    assert event == Event(
        id=event.id, at=event.at, kind=EventKind.WORKER_LOST, by="celery@host", text="silent for 30 s"
    )
    assert journal.newest() == event.id
    assert list(journal.events(after=event.id)) == []


def test_a_good_answer_leaves_nothing_in_the_journal(lane: LaneDriver, journal: Journal, redis: Redis) -> None:
    lane.publish("a")
    lane.finish(lane.take_next())
    assert (redis.exists(EVENTS), list(redis.scan_iter(f"{ERROR_COUNTS}*"))) == (0, [])


def test_a_lane_that_is_throttled_again_within_a_minute_adds_one_event(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a")
    for _ in range(3):
        throttle(lane, lane.take_next())
    (event,) = journal.events()
    assert (event.kind, event.account, event.operation) == (EventKind.RESTING, "live-cn", "live.StopMPUTask")
    assert event.text == "Throttling.User: rests 1 s"
    lane.clock.advance(60 * SECOND)
    throttle(lane, lane.take_next())
    assert kinds(journal) == [EventKind.RESTING, EventKind.RESTING]


def test_a_lane_fails_once_and_recovers_with_the_first_good_answer(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a")
    for number in range(4):
        fail(lane, lane.take_next())
        assert kinds(journal) == [], number
    for _ in range(3):
        fail(lane, lane.take_next())
    (event,) = journal.events()
    assert event.kind is EventKind.FAILING
    assert event.text == "ConnectTimeout: 5 faults in a row, rests 1 s"
    lane.finish(lane.take_next())
    assert kinds(journal) == [EventKind.FAILING, EventKind.RECOVERED]


def test_errors_are_counted_by_lane_and_code_with_the_newest_message(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a", "b", "c")
    throttle(lane, lane.take_next())
    refuse(lane, lane.take_next(), error("Forbidden.RAM", "first"))
    refuse(lane, lane.take_next(), error("Forbidden.RAM", "second"))
    at = lane.now()
    refused, throttled = journal.errors(since=HALF_AN_HOUR)
    assert (refused.account, refused.operation) == ("live-cn", "live.StopMPUTask")
    assert (refused.code, refused.count, refused.message, refused.request_id) == ("Forbidden.RAM", 2, "second", "R-1")
    assert abs(refused.at - at) < SECOND
    assert (throttled.code, throttled.count) == ("Throttling.User", 1)


def test_error_counts_stay_for_a_day_and_reach_back_by_steps_of_five_minutes(
    lane: LaneDriver, journal: Journal
) -> None:
    lane.publish("a", "b")
    refuse(lane, lane.take_next(), error("Old"))
    (key,) = lane.redis.scan_iter(f"{ERROR_COUNTS}*")
    assert lane.redis.ttl(key) > KEPT.total_seconds()
    lane.clock.advance(timedelta(minutes=10))
    refuse(lane, lane.take_next(), error("New"))
    assert [count.code for count in journal.errors(since=timedelta(minutes=1))] == ["New"]
    assert [count.code for count in journal.errors(since=HALF_AN_HOUR)] == ["New", "Old"]


def test_counts_of_several_steps_add_up_and_the_newest_message_is_shown(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a", "b", "c")
    for message in ("first", "second", None):
        refuse(lane, lane.take_next(), error("Forbidden", message))
        at = lane.now()
        lane.clock.advance(timedelta(minutes=7))
    (count,) = journal.errors(since=HALF_AN_HOUR)
    assert (count.count, count.message, abs(count.at - at) < SECOND) == (3, None, True)


def test_the_newest_error_stands_in_the_lanes_pace(lane: LaneDriver) -> None:
    lane.publish("a")
    refuse(lane, lane.take_next(), error("Forbidden.RAM"))
    values: Any = lane.redis.hmget(lane.lane.pace, "error_code", "error_at")
    assert values == [b"Forbidden.RAM", str(lane.clock.now_us).encode()]
    assert lane.redis.ttl(lane.lane.pace) > 0


def test_an_unknown_code_is_an_event_once_in_five_minutes(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a", "b", "c")
    for _ in range(2):
        refuse(lane, lane.take_next(), error("Brand.New", is_unknown=True))
    (event,) = journal.events()
    assert (event.kind, event.account) == (EventKind.UNKNOWN_CODE, "live-cn")
    assert event.text == "Brand.New: in no table, so it is taken for a transient fault"
    lane.clock.advance(timedelta(minutes=5))
    refuse(lane, lane.take_next(), error("Brand.New", is_unknown=True))
    assert kinds(journal) == [EventKind.UNKNOWN_CODE] * 2


def test_more_codes_than_a_hash_holds_are_counted_together(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("known", *range(4))
    refuse(lane, lane.take_next(), error("Known"))
    (key,) = lane.redis.scan_iter(f"{ERROR_COUNTS}*")
    lane.redis.hset(key, mapping={f"x.y.z\t{number}": 1 for number in range(998)})
    for code in ("Known", "Further", "Further", "Known"):
        refuse(lane, lane.take_next(), error(code, is_unknown=code == "Further"))
    counts = {(count.account, count.code): count.count for count in journal.errors(since=HALF_AN_HOUR)}
    assert (counts[("live-cn", "Known")], counts[("", "other")]) == (3, 2)
    assert lane.redis.hlen(key) == 1001
    assert kinds(journal) == [], "a code that is not counted by itself would be told each time"


def test_a_lane_that_rests_is_told_again_after_the_clock_was_set_back(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a")
    throttle(lane, lane.take_next())
    lane.clock.advance(-timedelta(hours=1))
    lane.sweep()
    throttle(lane, lane.take_next())
    assert kinds(journal) == [EventKind.RESTING, EventKind.RESTING]


@pytest.mark.parametrize("key", ["events", "counts"])
def test_reports_go_on_while_a_key_of_the_journal_is_of_another_type(
    lane: LaneDriver, journal: Journal, key: str
) -> None:
    lane.publish("a", "b")
    name = EVENTS if key == "events" else f"{ERROR_COUNTS}{lane.clock.now_us // 300_000_000}"
    lane.redis.set(name, "of another type")
    throttle(lane, lane.take_next())
    assert lane.pacing()["share"] == 50
    refuse(lane, lane.take_next(), error())
    assert (lane.in_flight(), lane.waiting()) == (0, ["b"])


def test_messages_are_cut_and_may_hold_any_text(lane: LaneDriver, journal: Journal) -> None:
    lane.publish("a", "b")
    refuse(lane, lane.take_next(), error("Long", 'é"\\/' * 500))
    refuse(lane, lane.take_next(), CallError("Bare", None, None, is_unknown=False))
    bare, long = journal.errors(since=HALF_AN_HOUR)
    assert long.message == ('é"\\/' * 500)[:200]
    assert (bare.message, bare.request_id) == (None, None)


def test_events_are_read_in_pages_and_after_an_event(journal: Journal, redis: Redis) -> None:
    for number in range(2500):
        redis.xadd(EVENTS, {"kind": "paused", "text": str(number)}, id=f"1-{number + 1}")
    events = list(journal.events())
    assert [event.text for event in events] == [str(number) for number in range(2500)]
    assert list(journal.events(after="1-2499")) == events[2499:]


def test_events_are_chosen_by_age(journal: Journal, redis: Redis, clock: ManualClock) -> None:
    now_ms = clock.now_us // 1000
    for age_s in (7200, 60, 0):
        redis.xadd(EVENTS, {"kind": "paused", "text": f"{age_s}"}, id=f"{now_ms - age_s * 1000}-0")
    assert [event.text for event in journal.events(since=timedelta(hours=1))] == ["60", "0"]
    after = f"{now_ms - 60_000}-0"
    assert [event.text for event in journal.events(since=timedelta(hours=1), after=after)] == ["0"]
    assert [event.text for event in journal.events(since=SECOND, after=after)] == ["0"]
    assert [event.text for event in journal.events(since=timedelta(days=365_000))] == ["7200", "60", "0"]


def test_an_event_of_a_newer_version_is_read_too(journal: Journal, redis: Redis) -> None:
    redis.xadd(EVENTS, {"kind": "upgraded", "text": b"\xff", "new": "1"})
    (event,) = journal.events()
    assert (event.kind, event.text, event.account) == ("upgraded", "\ufffd", None)


def test_before_the_first_event_the_newest_is_older_than_any(journal: Journal) -> None:
    assert journal.newest() == "0-0"
    journal.add(EventKind.PAUSED, "x" * 1000, account="live-cn", by="ops@host")
    (event,) = journal.events(after="0-0")
    assert event.text == "x" * 500
