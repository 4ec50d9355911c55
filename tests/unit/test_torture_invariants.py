"""The torture's judgement: each invariant is broken by what breaks it, and by nothing that a fault explains."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamstop import Command, Outcome, Result
from streamstop.operations import StopStreamIngest
from streamstop_worker.simulator import Call, Phase, SeenTask, TaskState
from tests.torture.chronicle import Happened
from tests.torture.evidence import Evidence, Seen, ShutdownFacts, member_of
from tests.torture.invariants import Finding, Judge
from tests.torture.producer import Accepted
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
        request_id="r",
        authenticated=True,
        over_limit=more.pop("over_limit", False),
        carried_out=True,
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


@pytest.mark.parametrize("kind", [Kind.CLOCK, Kind.REDIS, Kind.STOP])
def test_calls_over_the_limit_are_counted_apart_only_next_to_what_explains_them(kind: Kind) -> None:
    over = replace(WELL, calls=[call(101.0, over_limit=True)])
    assert len(apart(replace(over, faults=[happened(kind, 100.5, 100.6)]))) == 1
    assert broken(replace(over, faults=[happened(kind, 80.5, 80.6)])) == [LIMITS]


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
