"""Accounts whose keys the vendor refuses, on a Redis in memory with a manual clock."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop._core.constants import CONTROLS, EVENTS, REFUSED
from streamstop._core.controls import Pause
from streamstop._core.lane import Lane
from streamstop._core.lane_types import CallError, LastCall
from streamstop._redis.controls import ControlStore
from streamstop._wire.reports import Ended
from tests.support.lane_driver import ENDED, KEPT, LaneDriver, book_for
from tests.support.manual_clock import ManualClock
from tests.support.refused_keys import CALLED, ENDS, REFUSAL, SECOND, WAITS, hold, probe, refuse, refuse_all

MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(redis: Redis) -> ControlStore:
    return ControlStore(redis)


def kinds(redis: Redis) -> list[str]:
    entries: Any = redis.xrange(EVENTS)
    return [fields[b"kind"].decode() for _, fields in entries]


def test_after_five_refusals_in_a_row_the_jobs_of_the_account_wait(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    assert lane.take() == []
    assert lane.waiting() == [str(number) for number in range(5, 12)]
    (held,) = store.read().holds.values()
    assert (held.account, held.operation, held.code, held.message, held.request_id) == (
        "live-cn",
        "live.StopMPUTask",
        "InvalidAccessKeyId.NotFound",
        "not found",
        "r-1",
    )
    assert held.next_probe is not None
    assert abs(held.next_probe - lane.now() - MINUTE) < SECOND
    assert kinds(lane.redis) == ["key_refused", "held"]


def test_what_was_in_flight_when_the_account_was_held_waits_again_in_its_place(
    redis: Redis, clock: ManualClock
) -> None:
    lane = LaneDriver(redis, clock, limit=100)
    lane.publish(*range(20))
    taken = [lane.take_next() for _ in range(12)]
    reported = refuse_all(lane, *taken)
    assert sorted(rest == ENDS for rest in reported.rests) == [False] * 7 + [True] * 5
    assert reported.held == {"live-cn": "streamstop dead requeue --account live-cn --code InvalidAccessKeyId.NotFound"}
    waiting = [name for name, rest in zip(taken, reported.rests, strict=True) if rest == WAITS]
    assert lane.waiting() == [*waiting, *map(str, range(12, 20))]
    assert all(lane.record(name) is None for name in waiting)
    assert lane.in_flight() == 0


def test_a_job_that_waits_again_keeps_its_attempts(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    name = probe(lane)
    assert refuse(lane, name) == WAITS
    store.resume("live-cn", "ann@ops")
    assert lane.take_next() == name
    assert lane.taken_jobs[name].history == CALLED


def test_one_probe_a_minute_is_called_over_all_lanes_of_the_account(redis: Redis, clock: ManualClock) -> None:
    lanes = [
        LaneDriver(redis, clock, lane=Lane("live-cn", f"live.{name}")) for name in ("StopMPUTask", "StopB", "StopC")
    ]
    book = book_for(*(one.lane for one in lanes), pace=lanes[0].pace)
    for one in lanes:
        one.book = book
        one.publish(*(f"{one.lane.operation}-{number}" for number in range(9)))
    taken = lanes[0].look(50).jobs
    while len(taken) < 6:
        clock.advance(SECOND)
        taken = [*taken, *lanes[0].look(50).jobs]
    answers = lanes[0].report(
        *(Ended(job=job, call=LastCall.WELL, error=REFUSAL, record=ENDED, kept=KEPT, if_held=CALLED) for job in taken)
    )
    assert sum(rest == ENDS for rest in answers.rests) == 5
    probes = []
    for second in range(185):
        clock.advance(SECOND)
        for job in lanes[0].look(50).jobs:
            probes.append(second)
            lanes[0].report(Ended(job=job, call=LastCall.WELL, error=REFUSAL, record=ENDED, kept=KEPT, if_held=CALLED))
    assert len(probes) == 3
    assert [later - earlier for earlier, later in itertools.pairwise(probes)] == [60, 60]


def test_another_account_at_the_same_vendor_feels_nothing(
    store: ControlStore, lane: LaneDriver, redis: Redis, clock: ManualClock
) -> None:
    lane.publish(*range(12))
    hold(lane)
    other = LaneDriver(redis, clock, lane=Lane("live-us", "live.StopMPUTask"))
    other.publish("a", "b")
    assert [other.take_next(), other.take_next()] == ["a", "b"]
    assert list(store.read().holds) == ["live-cn"]


def test_a_good_probe_ends_the_hold(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    name = probe(lane)
    (answer,) = (
        reported := lane.report(Ended(job=lane.taken_jobs[name], call=LastCall.WELL, record=ENDED, kept=KEPT))
    ).rests
    assert (answer, reported.released) == (ENDS, ["live-cn"])
    assert store.read().holds == {}
    for _ in range(6):
        assert lane.finish(lane.take_next())
    assert kinds(lane.redis) == ["key_refused", "held", "released"]
    lane.clock.advance(2 * MINUTE)
    lane.publish("later")
    lane.finish(lane.take_next())
    assert lane.redis.exists(REFUSED, CONTROLS) == 0, "nothing is left of it"


@pytest.mark.parametrize(
    "answer",
    [
        lambda job: Ended(job=job, call=LastCall.WELL, record=ENDED, kept=KEPT),
        lambda job: Ended(
            job=job,
            call=LastCall.WELL,
            error=CallError("Forbidden.RAM", None, None, is_unknown=False),
            record=ENDED,
            kept=KEPT,
        ),
    ],
    ids=["good", "no permission"],
)
def test_another_answer_in_between_begins_the_count_anew(
    store: ControlStore, lane: LaneDriver, answer: Callable[..., Ended]
) -> None:
    lane.publish(*range(30))
    for _ in range(3):
        for _ in range(4):
            assert refuse(lane, lane.take_next()) == ENDS
        lane.report(answer(job=lane.taken_jobs[lane.take_next()]))
    assert store.read().holds == {}


def test_faults_say_nothing_of_the_key(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(30))
    for _ in range(4):
        refuse(lane, lane.take_next())
        lane.retry(lane.take_next(), delay=timedelta(hours=1))
    refuse(lane, lane.take_next())
    assert list(store.read().holds) == ["live-cn"]


def test_good_answers_to_calls_from_before_the_refusals_end_no_hold(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=100)
    lane.publish(*range(20))
    before = [lane.take_next() for _ in range(3)]
    hold(lane)
    for name in before:
        assert lane.finish(name)
    assert list(ControlStore(redis).read().holds) == ["live-cn"]


def test_a_person_ends_a_hold_and_a_key_that_is_still_refused_ends_no_further_job(
    store: ControlStore, lane: LaneDriver
) -> None:
    lane.publish(*range(12))
    hold(lane)
    assert store.resume("live-cn", "ann@ops")
    assert kinds(lane.redis)[-1] == "released"
    assert refuse(lane, lane.take_next()) == WAITS
    assert list(store.read().holds) == ["live-cn"]


def test_after_a_hold_jobs_that_a_worker_with_the_old_key_calls_wait_again(lane: LaneDriver) -> None:
    lane.publish(*range(20))
    hold(lane)
    assert lane.finish(probe(lane))
    old = lane.take_next()
    assert refuse(lane, old) == WAITS
    assert lane.finish(lane.take_next())
    lane.clock.advance(5 * SECOND)
    assert lane.take_next() == old
    assert lane.finish(old)
    lane.clock.advance(2 * MINUTE)
    lane.publish("a", "b")
    assert lane.finish(lane.take_next())
    assert refuse(lane, lane.take_next()) == ENDS, "a minute later a refusal ends its job again"


def test_a_worker_with_another_key_ends_the_hold(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    assert store.release("live-cn", "a worker has another key")
    assert not store.release("live-cn", "a worker has another key")
    assert lane.take_next()


def test_a_worker_that_starts_makes_the_next_probe_due(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    lane.clock.advance(2 * SECOND)
    assert lane.take() == []
    store.probe_now(["live-cn", "live-us"])
    lane.clock.advance(SECOND)
    assert len(lane.take()) == 1
    lane.clock.advance(SECOND)
    assert lane.take() == []


def test_a_paused_account_that_is_held_makes_no_probe(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    store.pause(Pause(scope="all", by="x", at=lane.now()))
    for _ in range(5):
        lane.clock.advance(MINUTE)
        assert lane.take() == []


def test_a_hold_outlasts_the_count_of_refusals(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    lane.redis.delete(REFUSED)
    name = probe(lane)
    assert refuse(lane, name) == WAITS
    lane.redis.delete(REFUSED)
    assert lane.finish(probe(lane))
    assert store.read().holds == {}


def test_a_clock_that_is_set_back_delays_no_probe_and_no_release(store: ControlStore, lane: LaneDriver) -> None:
    lane.publish(*range(12))
    hold(lane)
    lane.clock.advance(-timedelta(hours=1))
    lane.sweep()
    lane.clock.advance(SECOND)
    assert lane.finish(probe(lane))
    assert store.read().holds == {}


def test_a_report_is_accepted_whatever_key_another_program_wrote(lane: LaneDriver) -> None:
    lane.redis.set(REFUSED, "another program's")
    lane.publish("a")
    assert lane.finish(lane.take_next())


@pytest.mark.parametrize("code", ["$(reboot)", "a b"])
def test_the_command_in_the_event_runs_nothing_that_a_vendor_wrote(lane: LaneDriver, code: str) -> None:
    lane.publish(*range(12))
    error = CallError(code, None, None, is_unknown=False)
    held: dict[str, str] = {}
    for _ in range(5):
        job = lane.taken_jobs[lane.take_next()]
        held |= lane.report(
            Ended(job=job, call=LastCall.WELL, error=error, record=ENDED, kept=KEPT, if_held=CALLED)
        ).held
    assert held == {"live-cn": "streamstop dead requeue --account live-cn --result refused"}
