"""Verdicts: the next step of a job after each kind of answer, with each kind of history."""

from dataclasses import replace
from datetime import timedelta

import pytest

from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop.operations import Kind, Meaning
from streamstop.outcomes import Result
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.ends import Finish, Retry, Throttle
from streamstop_worker.pipeline.verdicts import judge
from streamstop_worker.vendors.protocol import Answer

NEW = AttemptHistory()
#: Judged six times and called nine, for three calls were throttled; once its worker was lost.
OLD = AttemptHistory(attempts=6, calls=9, lost_deliveries=1)
LAST = AttemptHistory(attempts=7, calls=7)
KINDS = pytest.mark.parametrize("kind", Kind)
HISTORIES = pytest.mark.parametrize("history", [NEW, OLD, LAST, AttemptHistory(signed_again=True)])


def verdict(
    meaning: Meaning | None, kind: Kind, history: AttemptHistory, *, retry_after: timedelta | None = None
) -> Finish | Retry | Throttle:
    """Return the verdict where chance gives half of the backoff's ceiling."""
    return judge(answer(meaning, retry_after), kind, history, Backoff(), lambda: 0.5)


def answer(meaning: Meaning | None, retry_after: timedelta | None = None) -> Answer:
    return Answer(meaning, "Code", "said", retry_after=retry_after)


def retry(meaning: Meaning, delay: timedelta, history: AttemptHistory, call: LastCall) -> Retry:
    return Retry(delay, history, "Code: said", call, answer(meaning))


def one_more(history: AttemptHistory, *, attempts: int = 1, signed_again: bool | None = None) -> AttemptHistory:
    again = history.signed_again if signed_again is None else signed_again
    return AttemptHistory(history.attempts + attempts, history.calls + 1, history.lost_deliveries, again)


@pytest.mark.parametrize(
    ("meaning", "kind", "result"),
    [
        (None, Kind.STOP, Result.STOPPED),
        (None, Kind.STATUS, Result.STATUS),
        (Meaning.ALREADY_STOPPED, Kind.STOP, Result.ALREADY_STOPPED),
        (Meaning.ALREADY_STOPPED, Kind.STATUS, Result.ALREADY_STOPPED),
        (Meaning.NOT_FOUND, Kind.STATUS, Result.NOT_FOUND),
        (Meaning.REFUSED, Kind.STOP, Result.REFUSED),
        (Meaning.REFUSED, Kind.STATUS, Result.REFUSED),
    ],
)
@HISTORIES
def test_a_definite_answer_ends_the_job_and_shows_that_the_lane_is_well(
    meaning: Meaning | None, kind: Kind, result: Result, history: AttemptHistory
) -> None:
    assert verdict(meaning, kind, history) == Finish(result, one_more(history), LastCall.WELL, answer(meaning))


@KINDS
@HISTORIES
def test_a_refused_key_ends_the_job_unless_the_account_is_held(kind: Kind, history: AttemptHistory) -> None:
    refused = answer(Meaning.KEY_REFUSED)
    waits = one_more(history, attempts=0)
    expected = Finish(Result.REFUSED, one_more(history), LastCall.WELL, refused, if_held=waits)
    assert verdict(Meaning.KEY_REFUSED, kind, history) == expected


@KINDS
@HISTORIES
@pytest.mark.parametrize("hint", [None, timedelta(seconds=7)])
def test_a_throttled_call_is_no_attempt_whatever_the_history(
    kind: Kind, history: AttemptHistory, hint: timedelta | None
) -> None:
    assert verdict(Meaning.THROTTLED, kind, history, retry_after=hint) == Throttle(
        hint, one_more(history, attempts=0), answer(Meaning.THROTTLED, hint)
    )


@KINDS
@pytest.mark.parametrize(
    ("history", "delay_s"),
    [
        (NEW, 0.5),  # half of 1
        (AttemptHistory(attempts=3, calls=3), 4),  # half of 8
        (OLD, 30),  # half of 60, the cap
    ],
)
def test_a_transient_fault_defers_the_job_and_counts_against_the_lane(
    kind: Kind, history: AttemptHistory, delay_s: float
) -> None:
    assert verdict(Meaning.TRANSIENT, kind, history) == retry(
        Meaning.TRANSIENT, timedelta(seconds=delay_s), one_more(history), LastCall.FAULT
    )


@KINDS
def test_after_the_eighth_transient_fault_the_job_is_given_up_and_the_lane_has_met_a_fault(kind: Kind) -> None:
    assert verdict(Meaning.TRANSIENT, kind, LAST) == Finish(
        Result.GAVE_UP, one_more(LAST), LastCall.FAULT, answer(Meaning.TRANSIENT)
    )


@KINDS
def test_throttled_calls_bring_a_job_no_nearer_to_being_given_up(kind: Kind) -> None:
    throttled_often = AttemptHistory(attempts=0, calls=50)
    assert isinstance(verdict(Meaning.TRANSIENT, kind, throttled_often), Retry)


@KINDS
@pytest.mark.parametrize("history", [NEW, OLD, LAST])
def test_a_signature_that_was_too_old_is_made_anew_at_once_and_is_not_the_lanes_fault(
    kind: Kind, history: AttemptHistory
) -> None:
    expected = retry(Meaning.SIGN_AGAIN, timedelta(0), one_more(history, signed_again=True), LastCall.WELL)
    assert verdict(Meaning.SIGN_AGAIN, kind, history) == expected


@KINDS
def test_a_signature_that_is_refused_a_second_time_is_a_transient_fault(kind: Kind) -> None:
    signed = AttemptHistory(attempts=1, calls=1, signed_again=True)
    assert verdict(Meaning.SIGN_AGAIN, kind, signed) == retry(
        Meaning.SIGN_AGAIN, timedelta(seconds=1), one_more(signed), LastCall.FAULT
    )
    last = AttemptHistory(attempts=7, calls=7, signed_again=True)
    assert verdict(Meaning.SIGN_AGAIN, kind, last) == Finish(
        Result.GAVE_UP, one_more(last), LastCall.FAULT, answer(Meaning.SIGN_AGAIN)
    )


def test_every_meaning_has_a_verdict_for_every_kind_and_history() -> None:
    for meaning in (None, *Meaning):
        for kind in Kind:
            for history in (
                NEW,
                OLD,
                LAST,
                AttemptHistory(attempts=100, calls=100, lost_deliveries=5, signed_again=True),
            ):
                found = verdict(meaning, kind, history)
                assert found.history.calls == history.calls + 1
                assert found.history.lost_deliveries == history.lost_deliveries


def test_a_stop_of_a_task_that_the_vendor_does_not_know_ends_not_found() -> None:
    assert verdict(Meaning.NOT_FOUND, Kind.STOP, AttemptHistory()) == Finish(
        Result.NOT_FOUND, AttemptHistory(1, 1), LastCall.WELL, answer(Meaning.NOT_FOUND)
    )


def test_a_stop_that_a_lost_worker_may_have_made_has_stopped_what_the_vendor_knows_no_longer() -> None:
    lost = AttemptHistory(attempts=1, calls=2, lost_deliveries=1)
    expected = Finish(
        Result.ALREADY_STOPPED, replace(lost, attempts=2, calls=3), LastCall.WELL, answer(Meaning.NOT_FOUND)
    )
    assert verdict(Meaning.NOT_FOUND, Kind.STOP, lost) == expected


@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_stop_whose_answer_was_lost_has_stopped_what_the_vendor_knows_no_longer(in_doubt: bool) -> None:
    spoilt = Answer(Meaning.TRANSIENT, "ReadTimeout", in_doubt=in_doubt)
    deferred = judge(spoilt, Kind.STOP, NEW, Backoff(), lambda: 0.5)
    expected = Result.ALREADY_STOPPED if in_doubt else Result.NOT_FOUND
    found = verdict(Meaning.NOT_FOUND, Kind.STOP, deferred.history)
    assert isinstance(found, Finish)
    assert found.result is expected
    asked = verdict(Meaning.NOT_FOUND, Kind.STATUS, deferred.history)
    assert isinstance(asked, Finish)
    assert asked.result is Result.NOT_FOUND, "who asked for a status gets what the vendor says"


def test_a_throttled_call_was_not_carried_out() -> None:
    throttled = judge(Answer(Meaning.THROTTLED, "Throttling", in_doubt=True), Kind.STOP, NEW, Backoff(), lambda: 0.5)
    assert not throttled.history.in_doubt


def test_a_hint_of_the_vendor_is_waited_for_where_it_is_longer_than_the_backoff() -> None:
    hinted = verdict(Meaning.TRANSIENT, Kind.STOP, NEW, retry_after=timedelta(seconds=20))
    assert isinstance(hinted, Retry)
    assert hinted.delay == timedelta(seconds=20)
    shorter = verdict(Meaning.TRANSIENT, Kind.STOP, NEW, retry_after=timedelta(milliseconds=1))
    assert isinstance(shorter, Retry)
    assert shorter.delay == timedelta(seconds=0.5)
