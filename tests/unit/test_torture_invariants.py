"""The torture's judgement: each invariant is broken by what breaks it, and by nothing that a fault explains."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamstop import Command, Outcome, Result
from streamstop.operations import StopStreamIngest
from streamstop_simulator import Call, Phase, SeenTask, TaskState
from tests.torture.chronicle import Happened
from tests.torture.evidence import Evidence, Seen, ShutdownFacts, member_of
from tests.torture.invariants import Finding, Judge
from tests.torture.producer import Accepted, LateStart, Unsure
from tests.torture.schedule import Fault, Kind

ACCOUNT, OPERATION = "trtc-a", "trtc.StopStreamIngest"
JOB = f"{ACCOUNT}.{OPERATION}.1"
STOP = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t1"), account=ACCOUNT)
PROCESS = "w0-0"


def outcome(result: Result = Result.STOPPED, **more: Any) -> Outcome:
    return Outcome(
        result=result, job_id=JOB, operation=OPERATION, account=ACCOUNT, params=STOP.operation.params, **more
    )


def call(at: float, answer: str = "ok", **more: Any) -> Call:
    return Call(
        index=0,
        vendor="tencent",
        account=ACCOUNT,
        operation=OPERATION,
        action="StopStreamIngest",
        method="POST",
        params=dict(STOP.operation.params),
        arrived_at=at,
        arrived_monotonic=at,
        answer=answer,
        status=200,
        request_id=more.pop("request_id", "r"),
        authenticated=True,
        over_limit=more.pop("over_limit", False),
        carried_out=more.pop("carried_out", True),
        **more,
    )


def task(state: TaskState = TaskState.STOPPED) -> SeenTask:
    params = STOP.operation.params
    return SeenTask(
        ACCOUNT, "trtc.DescribeStreamIngest", params, state, Phase.RUNNING, 0.0, None, 1, ignores_stops=False
    )


def calls_at(at: float, **more: Any) -> dict[str, Any]:
    return {"what": "calls", "at": at, "job": JOB, "begun": at - 0.1, "process": PROCESS, **more}


def finished_at(at: float) -> dict[str, Any]:
    return {"what": "finished", "at": at, "job": JOB, "recorded": True, "process": PROCESS}


def happened(kind: Kind, began: float, ended: float | None = None, process: str = "") -> Happened:
    return Happened(Fault(0, kind, seconds=1), began, began if ended is None else ended, process)


#: A command that was accepted at 100, called at 101 and recorded at 102.
WELL = Evidence(
    accepted={JOB: Accepted(STOP, 100.01)},
    uncertain=[],
    shut_down={},
    seen={JOB: [Seen(102.0, outcome())]},
    held={JOB: outcome()},
    shutdowns=[],
    calls=[call(101.0)],
    tasks=[task()],
    notes=[calls_at(100.99), finished_at(102.0)],
    faults=[],
)


def broken(evidence: Evidence) -> list[str]:
    return [finding.name for finding in Judge(evidence).findings() if not finding.ok]


def apart(evidence: Evidence) -> list[str]:
    findings: Sequence[Finding] = Judge(evidence).findings()
    assert all(finding.ok for finding in findings)
    return [cause for finding in findings for cause in finding.apart]


ONE_OUTCOME = "every accepted command has exactly one outcome, which never changes"
STOPPED = "what ended well is stopped at the vendor"
LIMITS = "no lane over its limit"
LATE = "no call after the outcome was recorded"
FURTHER = "every further call has its cause"
SHUTDOWNS = "shutdowns: counters exact, every member with its outcome"
CHANGED = [Seen(102.0, outcome()), Seen(110.0, outcome(Result.ALREADY_STOPPED))]


def test_a_run_without_faults_breaks_nothing() -> None:
    assert broken(WELL) == []
    assert apart(WELL) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seen": {}, "held": {}}, ONE_OUTCOME),
        ({"held": {}}, ONE_OUTCOME),
        ({"seen": {JOB: CHANGED}}, ONE_OUTCOME),
        ({"tasks": [task(TaskState.RUNNING)]}, STOPPED),
        ({"tasks": []}, STOPPED),
        ({"calls": [call(101.0, over_limit=True)]}, LIMITS),
        ({"left": ["a key"]}, "nothing is left over, and every worker serves"),
        ({"leaks": ["a log"]}, "no secret in a log or in Redis"),
        ({"alarms": ["it ended"]}, "nothing happened that never should"),
        ({"shut_down": {"room": [STOP]}}, SHUTDOWNS),
    ],
)
def test_what_breaks_an_invariant_is_found(changes: dict[str, Any], name: str) -> None:
    assert broken(replace(WELL, **changes)) == [name]


def test_what_redis_had_not_written_when_it_was_killed_is_counted_apart_and_nothing_that_is_older() -> None:
    gone = replace(WELL, seen={}, held={}, calls=[], notes=[])
    assert apart(replace(gone, faults=[happened(Kind.REDIS, 101.0)])) != []
    assert broken(replace(gone, faults=[happened(Kind.REDIS, 103.0)])) == [ONE_OUTCOME]
    assert broken(replace(gone, faults=[happened(Kind.REDIS, 99.0)])) == [ONE_OUTCOME]
    assert apart(replace(WELL, seen={JOB: CHANGED}, faults=[happened(Kind.REDIS, 102.5)])) != []


def test_an_outcome_was_recorded_when_its_worker_noted_so_though_it_was_seen_long_after() -> None:
    """Redis was killed right after, and forgot it."""
    killed = [happened(Kind.REDIS, 102.1)]
    late = [Seen(103.5, outcome()), Seen(110.0, outcome(Result.ALREADY_STOPPED))]
    assert apart(replace(WELL, seen={JOB: late}, faults=killed)) != []
    assert broken(replace(WELL, seen={JOB: late}, notes=[calls_at(100.99)], faults=killed)) == [ONE_OUTCOME]
    assert broken(replace(WELL, seen={JOB: late}, faults=[happened(Kind.REDIS, 101.4)])) == [ONE_OUTCOME]


def test_a_further_call_needs_a_cause() -> None:
    again = replace(WELL, calls=[call(101.0), call(101.8)], notes=[calls_at(100.99), calls_at(101.7)])
    assert broken(again) == [FURTHER]
    assert broken(replace(again, calls=[call(101.0, "JobNotFound"), call(101.8)])) == [FURTHER], "that is an end"
    for explained, cause in (
        (replace(again, calls=[call(101.0, "reset", fault="reset"), call(101.8)]), "answered reset"),
        (replace(again, faults=[happened(Kind.KILL, 101.1, process=PROCESS)]), "its worker was killed"),
        (replace(again, faults=[happened(Kind.CLOCK, 101.1)]), "the clock jumped"),
        (replace(again, faults=[happened(Kind.REDIS, 101.1, 101.2)]), "Redis was away"),
    ):
        judge = Judge(explained)
        assert all(finding.ok for finding in judge.findings())
        assert judge.extra == {cause: 1}
    assert broken(replace(again, faults=[happened(Kind.KILL, 101.1, process="w1-0")])) == [FURTHER]
    assert broken(replace(again, faults=[happened(Kind.TERM, 101.1, process=PROCESS)])) == [FURTHER], "calls end"
    assert broken(replace(again, faults=[happened(Kind.KILL, 101.9, process=PROCESS)])) == [FURTHER]


def test_a_call_that_was_begun_first_and_sent_last_needs_a_worker_that_stood_still() -> None:
    notes = [calls_at(100.99), calls_at(101.7, begun=90.0), finished_at(102.0)]
    overtaken = replace(WELL, calls=[call(101.0), call(101.8)], notes=notes)
    assert broken(overtaken) == [FURTHER]
    assert broken(replace(overtaken, faults=[happened(Kind.STOP, 90.1, 101.6, PROCESS)])) == []


@pytest.mark.parametrize("answered", [("first", "then"), ("then",), ("first",), ()])
def test_each_call_is_held_against_a_take_of_its_own_though_both_were_noted_before_either_arrived(
    answered: Sequence[str],
) -> None:
    notes = [calls_at(101.00, begun=100.0), calls_at(101.01, begun=100.3, process="w1-0"), finished_at(102.0)]
    for request_id, process in (("first", PROCESS), ("then", "w1-0")):
        if request_id in answered:
            notes.append({"what": "called", "at": 101.1, "job": JOB, "process": process, "request_id": request_id})
    calls = [call(101.02, request_id="first"), call(101.03, request_id="then")]
    twice = replace(WELL, calls=calls, notes=notes)
    assert broken(twice) == [FURTHER]
    assert broken(replace(twice, faults=[happened(Kind.CLOCK, 100.2)])) == []
    assert broken(replace(twice, faults=[happened(Kind.CLOCK, 99.9)])) == [FURTHER]


def test_only_what_touches_the_job_and_its_worker_explains_a_further_call() -> None:
    again = replace(WELL, calls=[call(101.0), call(106.0)], notes=[calls_at(100.99), calls_at(105.9)])
    again = replace(again, seen={JOB: [Seen(107.0, outcome())]})
    for kind in (Kind.STOP, Kind.CLOCK, Kind.REDIS, Kind.SLOW_REDIS, Kind.CUT_REDIS, Kind.HALF_OPEN_REDIS):
        everybodys = kind in {Kind.CLOCK, Kind.REDIS}
        own, anothers = ("", "") if everybodys else (PROCESS, "w1-0")
        assert broken(replace(again, faults=[happened(kind, 94.0, 101.5, own)])) == []
        assert broken(replace(again, faults=[happened(kind, 94.0, 100.8, own)])) == [FURTHER], "over before the claim"
        assert broken(replace(again, faults=[happened(kind, 106.1, 108.0, own)])) == [FURTHER]
        if not everybodys:
            assert broken(replace(again, faults=[happened(kind, 94.0, 101.5, anothers)])) == [FURTHER]
    assert broken(replace(again, faults=[happened(Kind.CLOCK_BACK, 101.5)])) == [FURTHER], "it ends no lease"


def test_a_stop_that_its_own_earlier_call_made_unknown_is_counted() -> None:
    held = {JOB: outcome(Result.NOT_FOUND)}
    misread = replace(WELL, held=held, calls=[call(101.0, "500"), call(101.8, "InvalidTask.NotFound")])
    assert Judge(misread).misread == 1
    assert Judge(replace(misread, calls=[call(101.8, "InvalidTask.NotFound")])).misread == 0


def test_a_call_after_the_record_is_broken_unless_it_was_begun_before_by_a_worker_that_stood_still() -> None:
    late = replace(WELL, calls=[call(105.0)], notes=[calls_at(104.9), finished_at(102.0)])
    assert broken(late) == [LATE]
    begun = replace(late, notes=[calls_at(104.9, begun=100.9), finished_at(102.0)])
    assert broken(begun) == [LATE]
    assert len(apart(replace(begun, faults=[happened(Kind.STOP, 101.0, 104.8, PROCESS)]))) == 1
    assert broken(replace(late, faults=[happened(Kind.STOP, 101.0, 104.8, PROCESS)])) == [LATE]
    for kind in (Kind.SLOW_REDIS, Kind.CUT_REDIS, Kind.HALF_OPEN_REDIS):
        assert len(apart(replace(begun, faults=[happened(kind, 101.0, 103.0, PROCESS)]))) == 1
        assert broken(replace(begun, faults=[happened(kind, 101.0, 103.0, "w2-0")])) == [LATE]
        assert broken(replace(begun, faults=[happened(kind, 95.0, 97.0, PROCESS)])) == [LATE]
    assert broken(replace(begun, faults=[happened(Kind.CLOCK_BACK, 101.0)])) == [LATE]


@pytest.mark.parametrize("kind", [Kind.CLOCK, Kind.REDIS, Kind.STOP])
def test_calls_over_the_limit_are_counted_apart_only_next_to_what_explains_them(kind: Kind) -> None:
    over = replace(WELL, calls=[call(101.0, over_limit=True)])
    assert len(apart(replace(over, faults=[happened(kind, 100.5, 100.6)]))) == 1
    assert broken(replace(over, faults=[happened(kind, 80.5, 80.6)])) == [LIMITS]


def test_calls_over_the_limit_are_counted_apart_where_they_took_unevenly_long_from_their_being_sent() -> None:
    def with_sent(*sent: float) -> Evidence:
        """A job that was called twice, each noted 0.1 s before and sent at its moment."""
        over = replace(
            WELL,
            calls=[call(100.5, "reset", fault="reset"), call(101.0, over_limit=True)],
            notes=[calls_at(100.4), calls_at(100.9), finished_at(102.0)],
        )
        notes = [
            {"what": "called", "at": moment + 0.05, "job": JOB, "process": PROCESS, "sent": moment} for moment in sent
        ]
        return replace(over, notes=[*over.notes, *notes])

    assert broken(with_sent(100.49, 100.99)) == [LIMITS]
    assert len(apart(with_sent(100.41, 100.99))) == 1
    assert broken(with_sent(100.42, 100.92)) == [LIMITS], "both took as long"


WHOLE = ShutdownFacts(
    id="0123456789",
    room="room",
    facts={"total": "1", "ended": "1", "attention": "0", "status": "done", "n:stopped": "1"},
    members=frozenset([member_of(STOP)]),
    outcomes={member_of(STOP): outcome()},
    lanes={f"{ACCOUNT}.{OPERATION}:total": 1, f"{ACCOUNT}.{OPERATION}:ended": 1},
    todo=0,
)


def test_a_shutdown_whose_counters_are_exact_breaks_nothing() -> None:
    assert broken(replace(WELL, shutdowns=[WHOLE], shut_down={"room": [STOP]})) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: replace(one, facts={**one.facts, "total": "2"}),
        lambda one: replace(one, facts={**one.facts, "ended": "0"}),
        lambda one: replace(one, facts={**one.facts, "n:refused": "1"}),
        lambda one: replace(one, facts={**one.facts, "attention": "1"}),
        lambda one: replace(one, facts={**one.facts, "status": "open"}),
        lambda one: replace(one, outcomes={}),
        lambda one: replace(one, todo=1),
        lambda one: replace(one, lanes={**one.lanes, f"{ACCOUNT}.{OPERATION}:ended": 2}),
        lambda one: replace(one, lanes={f"live-a.{OPERATION}:total": 1, f"live-a.{OPERATION}:ended": 1}),
    ],
)
def test_a_shutdown_whose_counters_do_not_fit_is_found(spoil: Callable[[ShutdownFacts], ShutdownFacts]) -> None:
    assert broken(replace(WELL, shutdowns=[spoil(WHOLE)])) == [SHUTDOWNS]


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


def test_what_was_called_has_an_outcome_though_its_enqueueing_raised() -> None:
    unsure = replace(WELL, accepted={}, uncertain=[Unsure((STOP,))])
    assert broken(unsure) == []
    open_for_ever = replace(unsure, seen={}, held={})
    assert broken(open_for_ever) == [ENDED]
    assert broken(replace(open_for_ever, faults=[happened(Kind.REDIS, 101.5)])) == [], "gone with what was not written"
    assert broken(replace(open_for_ever, faults=[happened(Kind.REDIS, 104.0)])) == [ENDED]
    assert broken(replace(open_for_ever, faults=[happened(Kind.REDIS, 100.0)])) == [ENDED]
    step = {**calls_at(101.0), "job": "a step of a shutdown"}
    assert broken(replace(WELL, notes=[*WELL.notes, step])) == [ENDED]


def test_of_a_batch_whose_enqueueing_raised_all_or_none_has_an_outcome() -> None:
    unsure = replace(WELL, accepted={}, uncertain=[Unsure((STOP, OTHER))])
    assert broken(unsure) == [ENDED]
    other = outcome().model_copy(update={"job_id": "other", "params": OTHER.operation.params})
    stopped = [*WELL.tasks, replace(task(), params=OTHER.operation.params)]
    assert broken(replace(unsure, held={**unsure.held, "other": other}, tasks=stopped)) == []
    assert broken(replace(unsure, seen={}, held={}, calls=[], notes=[])) == []


def test_what_needs_a_person_has_a_letter_and_nothing_else_has() -> None:
    gone = replace(WELL, **ended(Result.NOT_FOUND), tasks=[])
    assert broken(gone) == []
    assert broken(replace(gone, letters=[])) == [LETTERS]
    assert broken(replace(gone, letters=[JOB, "another"])) == [LETTERS]
    assert broken(replace(WELL, letters=[JOB])) == [LETTERS]


def test_of_a_shutdown_it_is_its_own_outcome_that_has_a_letter() -> None:
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
