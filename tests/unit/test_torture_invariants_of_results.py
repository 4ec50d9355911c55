"""The torture's judgement of results, dead letters and late starts: a finding unless a fault explains it."""

from dataclasses import replace
from typing import Any

import pytest

from streamstop import Command, Result
from streamstop.operations import StopStreamIngest
from streamstop_simulator import TaskState
from tests.support.torture_evidence import (
    ACCOUNT,
    JOB,
    PROCESS,
    STOP,
    WELL,
    WHOLE,
    apart,
    broken,
    call,
    calls_at,
    happened,
    outcome,
    task,
)
from tests.torture.chronicle import Happened
from tests.torture.evidence import Evidence, Seen, member_of
from tests.torture.producer import LateStart, Unsure
from tests.torture.schedule import Fault, Kind

ENDED = "what was called has an outcome, and of a batch all or none"
RESULTS = "every result is what the faults allow"
LETTERS = "dead letters tell what needs a person, and nothing else"
LATE_START = "a room that closes stops what starts late"
RUNS = [task(TaskState.RUNNING)]
OTHER = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t2"), account=ACCOUNT)


def ended(result: Result, **more: Any) -> dict[str, Any]:
    """Return the evidence of a job that ended so, with its letter."""
    one = outcome(result, **more)
    letters = [JOB] if result.needs_person else []
    return {"seen": {JOB: [Seen(102.0, one)]}, "held": {JOB: one}, "letters": letters}


@pytest.mark.parametrize(
    "result", [Result.REFUSED, Result.EXPIRED, Result.CANCELLED, Result.UNVERIFIABLE, Result.GAVE_UP, Result.NOT_FOUND]
)
def test_a_result_that_no_fault_makes_is_found(result: Result) -> None:
    assert broken(replace(WELL, **ended(result), tasks=RUNS)) == [RESULTS]


def test_a_job_may_give_up_after_as_many_faults_of_the_vendor_as_it_may_meet() -> None:
    moments = [101.0 + number for number in range(8)]
    calls = [call(moment, "500", fault="500", carried_out=False) for moment in moments]
    gone = ended(Result.GAVE_UP, code="InternalError", attempts=8)
    gave_up = replace(WELL, **gone, calls=calls, notes=[calls_at(moment - 0.01) for moment in moments], tasks=RUNS)
    gave_up = replace(gave_up, seen={JOB: [Seen(109.0, gave_up.held[JOB])]})
    assert broken(gave_up) == []
    assert broken(replace(gave_up, calls=calls[1:])) == [RESULTS]
    lost = {"what": "called", "at": 101.5, "job": JOB, "process": PROCESS, "fault": "ReadTimeout"}
    assert broken(replace(gave_up, calls=calls[1:], notes=[*gave_up.notes, lost])) == []
    throttled = [call(101.0, "throttle", fault="throttle", carried_out=False), *calls[1:]]
    assert broken(replace(gave_up, calls=throttled)) == [RESULTS], "no attempt"


def test_a_job_may_give_up_that_was_lost_with_its_workers() -> None:
    lost = replace(WELL, **ended(Result.GAVE_UP, message="lost with its worker"), calls=[], notes=[], tasks=RUNS)
    kills = [happened(Kind.KILL, 100.1 + number / 10, process=PROCESS) for number in range(5)]
    assert broken(replace(lost, faults=kills)) == []
    assert broken(replace(lost, faults=kills[1:])) == [RESULTS]
    assert broken(replace(lost, faults=[*kills[1:], happened(Kind.CLOCK_BACK, 101.0)])) == [RESULTS]


def test_a_stop_may_end_not_found_only_after_a_readable_fault_of_a_call_that_was_carried_out() -> None:
    def again(answer: str, **more: Any) -> Evidence:
        calls = [call(101.0, answer, fault=answer, **more), call(101.8, "NotFound", carried_out=False)]
        return replace(WELL, **ended(Result.NOT_FOUND), calls=calls, notes=[calls_at(100.99), calls_at(101.7)])

    assert broken(again("500")) == []
    assert broken(again("500", carried_out=False)) == [RESULTS]
    for unreadable in ("html", "half_body", "reset"):
        assert broken(again(unreadable)) == [RESULTS], "that is already_stopped"
    met = {"what": "called", "at": 101.1, "job": JOB, "process": PROCESS, "fault": "ReadError"}
    cut = again("500")
    assert broken(replace(cut, notes=[cut.notes[0], met, cut.notes[1]])) == [RESULTS], "its answer was lost on the way"
    assert broken(replace(again("reset"), faults=[happened(Kind.REDIS, 101.4, 101.5)])) == [], "Redis forgot the doubt"
    assert broken(replace(WELL, **ended(Result.NOT_FOUND), tasks=[])) == [], "it was never started"


def test_a_stop_that_was_not_verified_needs_a_status_that_could_not_be_asked_for() -> None:
    asked = outcome(Result.GAVE_UP, code="InternalError", attempts=8).model_copy(
        update={"job_id": "status", "operation": "trtc.DescribeStreamIngest"}
    )
    not_verified = replace(WELL, **ended(Result.NOT_VERIFIED))
    assert broken(not_verified) == [RESULTS]
    met = [{"what": "called", "at": 101.0, "job": "status", "process": PROCESS, "fault": "ReadError"}] * 8
    assert broken(replace(not_verified, held={**not_verified.held, "status": asked}, notes=[*WELL.notes, *met])) == []


def test_a_called_job_has_an_outcome_though_its_enqueueing_raised() -> None:
    unsure = replace(WELL, accepted={}, uncertain=[Unsure((STOP,))])
    assert broken(unsure) == []
    open_for_ever = replace(unsure, seen={}, held={})
    assert broken(open_for_ever) == [ENDED]
    assert broken(replace(open_for_ever, faults=[happened(Kind.REDIS, 101.5)])) == [], "gone with what was not written"
    assert broken(replace(open_for_ever, faults=[happened(Kind.REDIS, 104.0)])) == [ENDED]
    assert broken(replace(open_for_ever, faults=[happened(Kind.REDIS, 100.0)])) == [ENDED]
    step = {**calls_at(101.0), "job": "a step of a shutdown"}
    assert broken(replace(WELL, notes=[*WELL.notes, step])) == [ENDED]


def test_a_batch_whose_enqueueing_raised_has_all_of_its_outcomes_or_none() -> None:
    unsure = replace(WELL, accepted={}, uncertain=[Unsure((STOP, OTHER))])
    assert broken(unsure) == [ENDED]
    other = outcome().model_copy(update={"job_id": "other", "params": OTHER.operation.params})
    stopped = [*WELL.tasks, replace(task(), params=OTHER.operation.params)]
    assert broken(replace(unsure, held={**unsure.held, "other": other}, tasks=stopped)) == []
    assert broken(replace(unsure, seen={}, held={}, calls=[], notes=[])) == []


def test_exactly_the_outcomes_that_need_a_person_have_a_letter() -> None:
    gone = replace(WELL, **ended(Result.NOT_FOUND), tasks=[])
    assert broken(gone) == []
    assert broken(replace(gone, letters=[])) == [LETTERS]
    assert broken(replace(gone, letters=[JOB, "another"])) == [LETTERS]
    assert broken(replace(WELL, letters=[JOB])) == [LETTERS]


def test_the_letter_of_a_shutdowns_job_is_for_the_shutdowns_outcome() -> None:
    gone = replace(WELL, accepted={}, **ended(Result.NOT_FOUND), tasks=[], calls=[], notes=[])
    facts = {"total": "1", "ended": "1", "attention": "1", "status": "needs_attention", "n:not_found": "1"}
    attention = replace(WHOLE, facts=facts, outcomes={member_of(STOP): gone.held[JOB]})
    assert broken(replace(gone, shutdowns=[attention])) == []
    assert broken(replace(gone, shutdowns=[attention], letters=[])) == [LETTERS]
    assert broken(replace(gone, accepted={}, tasks=[task()], calls=[], shutdowns=[WHOLE])) == [RESULTS, LETTERS]


def test_a_late_start_that_is_not_stopped_needs_a_jump_past_the_rooms_ten_minutes_or_a_shutdown_that_redis_lost() -> (
    None
):
    late = replace(WELL, unjoined=[LateStart("room", STOP, closing=100.0, closed=100.1, answered=102.0)])
    assert broken(late) == [LATE_START]

    def after(kind: Kind, began: float, amount: float = 0.0) -> Evidence:
        return replace(late, faults=[Happened(Fault(0, kind, amount=amount), began, began)])

    assert len(apart(after(Kind.CLOCK, 101.0, 600))) == 1
    assert broken(after(Kind.CLOCK, 101.0, 60)) == [LATE_START]
    assert broken(after(Kind.CLOCK, 99.0, 600)) == [LATE_START]
    assert broken(after(Kind.CLOCK_BACK, 101.0, 600)) == [LATE_START]
    assert len(apart(after(Kind.REDIS, 101.0))) == 1
    assert broken(after(Kind.REDIS, 102.5)) == [LATE_START]
    assert broken(after(Kind.REDIS, 99.0)) == [LATE_START]
