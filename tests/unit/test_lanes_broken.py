"""What lanes meet that should not be there: keys of another type, paces and books that are gone, names and messages
that a producer forged. No job is lost over it, and no other lane waits for it."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from streamstop._core.constants import ARRIVALS, BOOK
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall, Queued
from streamstop._redis.schedule import Book
from streamstop._wire.reports import Ended, Retried
from tests.support.celery_messages import celery_message, envelope
from tests.support.lane_driver import (
    ENDED,
    JUDGED_ONCE,
    KEPT,
    LEASE,
    WAITS_AGAIN,
    LaneDriver,
    announce,
    book_for,
)
from tests.support.lane_invariants import check_lane_is_scheduled, check_no_orphaned_fields, read_lane
from tests.support.manual_clock import ManualClock

SECOND = timedelta(seconds=1)


def looked_after(*lanes: LaneDriver) -> None:
    """Check the invariants of the lanes."""
    for lane in lanes:
        content = read_lane(lane.redis, lane.lane)
        check_lane_is_scheduled(content, lane.clock.now_us)
        check_no_orphaned_fields(content)


@pytest.fixture
def pair(redis: Redis, clock: ManualClock) -> tuple[LaneDriver, LaneDriver]:
    """Two lanes of one worker; the first gets broken."""
    lanes = [Lane(account, "live.StopMPUTask") for account in ("broken", "sound")]
    broken, sound = (LaneDriver(redis, clock, limit=40, lane=lane) for lane in lanes)
    broken.book = sound.book = book_for(*lanes, pace=sound.pace)
    sound.schedule.publish(sound.book)
    return broken, sound


# Unreadable messages


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"not JSON",
        b"7",
        b"[1, 2]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b"\x01",
        b"\x01\n",
        b"\x01 \nnot JSON",
        b'{"headers": null, "content-type": "application/json"}',
        b'{"headers": {"task": "streamstop.execute", "id": 7}, "content-type": "application/json"}',
        b'{"headers": {"task": "streamstop.execute"}, "content-type": "application/json"}',
        b'{"headers": {"task": "another.task", "id": "x"}, "content-type": "application/json"}',
    ],
)
def test_an_unreadable_message_becomes_a_dead_letter_and_delays_no_job(lane: LaneDriver, message: bytes) -> None:
    lane.push(message)
    lane.publish("a")
    assert lane.take_next() == "a"
    is_split = message.startswith((b"\x01\n", b"\x01 \n"))
    assert lane.unreadable() == [message.partition(b"\n")[2] if is_split else message]


@pytest.mark.parametrize("history", [b"junk", b"1 2 x", b"-1 0 0", b"9" * 200, b"\xff", b"1.5"])
def test_a_forged_history_makes_a_message_unreadable(lane: LaneDriver, history: bytes) -> None:
    entry = b"\x01" + history + b"\n" + celery_message(lane.lane, lane.job_id("forged"))
    lane.push(entry)
    lane.publish("a")
    assert (lane.take_next(), lane.unreadable()) == ("a", [entry])


@pytest.mark.parametrize("history", [b"1", b" ", b"1 2", b"9" * 99, b"1 2 3 4 5 6 7 8"])
def test_a_history_of_other_numbers_than_ours_ends_no_sweep(lane: LaneDriver, history: bytes) -> None:
    lane.push(b"\x01" + history + b"\n" + celery_message(lane.lane, lane.job_id("a")))
    lane.publish()
    for _ in range(3):
        assert lane.take() == ["a"]
        lane.clock.advance(LEASE)
        assert lane.expired_leases() == 1


@pytest.mark.parametrize("suffix", [":owner", ":tries"])
def test_a_foreign_id_that_reads_as_what_the_lane_keeps_of_another_job_is_set_aside(
    lane: LaneDriver, suffix: str
) -> None:
    lane.publish(f"a{suffix}", "a")
    assert (lane.take_next(), len(lane.unreadable())) == ("a", 1)


def test_the_last_thousand_unreadable_messages_are_kept_and_the_lane_goes_on(lane: LaneDriver) -> None:
    for _ in range(1200):
        lane.push(b"not JSON")
    lane.publish("a")
    assert [lane.take() for _ in range(13)] == [[]] * 12 + [["a"]], "a run goes through a hundred"
    assert lane.unreadable() == [b"not JSON"] * 1000


# Names


@pytest.mark.parametrize("name", [b"", b"no lane", b"\xff.live.StopMPUTask", b"x" * 1000 + b".live.StopMPUTask"])
def test_a_name_that_is_no_lanes_is_not_noted(lane: LaneDriver, name: bytes) -> None:
    lane.redis.sadd(ARRIVALS, name)
    lane.publish("a")
    assert lane.take() == ["a"]
    assert lane.lanes.holding() == {lane.lane}


def test_an_operation_that_is_called_as_an_account_is_an_unknown_one(lane: LaneDriver) -> None:
    announce(lane.redis, Lane(lane.lane.account, lane.lane.account))
    lane.publish("a")
    take = lane.look()
    assert (len(take.jobs), take.broken) == (1, {})


# Missing books and paces


def test_a_book_that_is_gone_in_the_middle_of_a_run_loses_no_job(redis: Redis, clock: ManualClock) -> None:
    first, second = (LaneDriver(redis, clock, lane=Lane(account, "live.StopMPUTask")) for account in "ab")
    book = book_for(first.lane, second.lane, pace=first.pace)
    first.publish("x")
    first.finish(first.look(book=book).jobs[0].job_id.rpartition(".")[2])
    clock.advance(SECOND)
    first.look(book=book)
    first.publish("y")
    clock.advance(timedelta(milliseconds=1))
    redis.delete(BOOK + book.digest)
    second.publish("z")
    given = [job.lane for _ in range(4) for job in first.look(book=book).jobs]
    assert sorted(given) == [first.lane, second.lane]
    looked_after(first, second)
    clock.advance(2 * LEASE)
    assert dict(first.sweep().expired_leases) == {first.lane: 1, second.lane: 1}


@pytest.mark.parametrize("where", ["due later", "at its window", "in flight"])
def test_an_expired_pace_of_a_lane_with_jobs_loses_none_of_them(redis: Redis, clock: ManualClock, where: str) -> None:
    lane = LaneDriver(redis, clock, limit=1)
    lane.publish("a", "b")
    lane.take()
    match where:
        case "due later":
            lane.retry("a", delay=timedelta(minutes=5))
            lane.finish(lane.take_next())
            clock.advance(SECOND)
            lane.take()
        case "at its window":
            clock.advance(2 * SECOND)
            lane.take()
    redis.delete(lane.lane.pace)
    looked_after(lane)
    if where != "due later":
        lane.finish("a")
    looked_after(lane)
    clock.advance(timedelta(minutes=5))
    assert lane.take() == [{"due later": "a"}.get(where, "b")]


# Keys of another type


@pytest.mark.parametrize(
    "key",
    [
        lambda lane: lane.waiting[1],
        lambda lane: lane.waiting[3],
        lambda lane: lane.leases,
        lambda lane: lane.jobs,
        lambda lane: lane.pace,
    ],
    ids=["list of priority 3", "list of priority 9", "leases", "jobs", "pace"],
)
def test_a_key_of_another_type_loses_no_job_and_holds_no_other_lane_up(
    pair: tuple[LaneDriver, LaneDriver], key: Callable[[Lane], str]
) -> None:
    broken, sound = pair
    broken.publish("a", "b")
    sound.publish("x")
    broken.redis.set(key(broken.lane), "of another program")
    take = sound.look()
    assert [job.lane for job in take.jobs] == [sound.lane]
    assert list(take.broken) == [broken.lane]
    assert "WRONGTYPE" in take.broken[broken.lane]
    assert broken.redis.lrange(broken.lane.queue, 0, -1) == [
        celery_message(broken.lane, broken.job_id(name)) for name in ("b", "a")
    ]
    assert broken.scheduled() == SECOND
    broken.redis.delete(key(broken.lane))
    broken.clock.advance(SECOND)
    assert broken.take() == ["a", "b"]
    looked_after(broken, sound)


def test_a_report_that_redis_fails_over_keeps_the_job_and_what_other_reports_changed(
    pair: tuple[LaneDriver, LaneDriver],
) -> None:
    broken, sound = pair
    broken.publish("a")
    sound.publish("x", "y")
    broken.take()  # of both lanes
    sound.taken_jobs |= broken.taken_jobs
    broken.redis.set(broken.lane.due, "of another program")
    fault = {"call": LastCall.FAULT, "delay": SECOND, "history": JUDGED_ONCE, "record": WAITS_AGAIN, "kept": KEPT}
    reports = [Retried(job=job, **fault) for job in (sound.taken_jobs["x"], broken.taken_jobs["a"])]  # type: ignore[arg-type]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        sound.report(*reports)
    looked_after(sound)
    broken.redis.delete(broken.lane.due)
    looked_after(broken)
    assert broken.in_flight() == 1
    sound.clock.advance(2 * SECOND)
    assert sound.finish("y")
    assert sound.take() == ["x"]


def test_a_lane_that_the_sweep_fails_over_keeps_no_other_from_being_mended(pair: tuple[LaneDriver, LaneDriver]) -> None:
    broken, sound = pair
    for lane in pair:
        lane.publish("a")
        lane.take()
    broken.take()
    leases = broken.redis.dump(broken.lane.leases)
    assert leases is not None
    broken.redis.set(broken.lane.leases, "of another program")
    broken.clock.advance(LEASE)
    assert dict(broken.sweep().expired_leases) == {sound.lane: 1}
    broken.redis.restore(broken.lane.leases, 0, leases, replace=True)
    broken.clock.advance(SECOND)
    assert dict(broken.sweep().expired_leases) == {broken.lane: 1}


def test_a_job_whose_end_redis_fails_over_keeps_its_lease(lane: LaneDriver) -> None:
    lane.publish("a")
    lane.take()
    other = Lane("other", "live.DescribeTask")
    lane.redis.set(other.queue, "of another program")
    then = Queued(other, 0, json.dumps(envelope(other, "x")))
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        lane.report(Ended(job=lane.taken_jobs["a"], call=LastCall.WELL, record=ENDED, kept=KEPT, then=then))
    assert lane.in_flight() == 1
    looked_after(lane)


def test_a_worker_without_any_account_takes_nothing(lane: LaneDriver) -> None:
    lane.publish("a")
    assert lane.look(book=Book({}, {}, lane.pace, {})).jobs == []
