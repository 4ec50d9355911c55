"""The journal: the events of lanes, and the counts of vendors' errors, in a Redis in memory."""

from datetime import timedelta

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
    assert event.text == "throttled (Throttling.User): the lane rests 1 s"
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
    assert event.text == "5 faults in a row (ConnectTimeout): the lane rests 1 s, then makes one call at a time"
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
