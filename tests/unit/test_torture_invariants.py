"""The torture's judgement of calls and shutdowns: each violation is a finding unless a fault explains it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamstop import Result
from streamstop_simulator import TaskState
from tests.support.torture_evidence import (
    ACCOUNT,
    JOB,
    OPERATION,
    PROCESS,
    STOP,
    WELL,
    WHOLE,
    apart,
    broken,
    call,
    calls_at,
    finished_at,
    happened,
    outcome,
    task,
)
from tests.torture.evidence import Evidence, Seen, ShutdownFacts
from tests.torture.invariants import Judge
from tests.torture.schedule import Kind

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
def test_each_broken_invariant_is_found(changes: dict[str, Any], name: str) -> None:
    assert broken(replace(WELL, **changes)) == [name]


def test_only_the_last_writes_before_redis_was_killed_are_excused() -> None:
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


def test_a_call_that_was_begun_first_and_sent_last_needs_a_paused_worker() -> None:
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


def test_a_call_after_the_record_is_a_finding_unless_a_paused_worker_began_it_before() -> None:
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
