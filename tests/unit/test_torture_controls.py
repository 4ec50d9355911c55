"""The torture's judgement of pauses, limits that people set, and revoked keys."""

from dataclasses import replace

import pytest

from streamstop import Command, Outcome, Result
from streamstop._core.lane import Lane
from streamstop.operations import StopStreamIngest
from streamstop_simulator import Call
from tests.support.torture_evidence import ACCOUNT, OPERATION, PROCESS, WELL, apart, broken, call, happened
from tests.torture.chronicle import Happened
from tests.torture.evidence import Evidence, Seen
from tests.torture.people import LimitChange
from tests.torture.producer import Accepted
from tests.torture.schedule import BY_CALLING, BY_RESUMING, Kind

SET_LIMITS = "no second with more calls than the limits in force"
PAUSES = "no call of a paused lane later than a second after"
KEYS = "at most five jobs end refused for each revoked key"
RESULTS = "every result is what the faults allow"
LANE = Lane(ACCOUNT, OPERATION)
REVOKED = "AuthFailure.SignatureFailure"


def _jobs(*moments: float, result: Result = Result.STOPPED) -> Evidence:
    """Return the evidence of jobs, each called once at one of `moments`, with a key that fits the result."""
    accepted: dict[str, Accepted] = {}
    outcomes: dict[str, Outcome] = {}
    notes, calls, tasks = [], [], []
    for number, at in enumerate(moments):
        operation = StopStreamIngest(sdk_app_id=1, task_id=f"n{number}")
        job = f"{ACCOUNT}.{OPERATION}.n{number}"
        accepted[job] = Accepted(Command(operation=operation, account=ACCOUNT), at - 1)
        outcomes[job] = Outcome(
            result=result, job_id=job, operation=OPERATION, account=ACCOUNT, params=operation.params, attempts=1
        )
        note = {"job": job, "process": PROCESS}
        notes += [
            {"what": "calls", "at": at - 0.001, "begun": at - 0.1, **note},
            {"what": "finished", "at": at + 0.3, "recorded": True, **note},
        ]
        calls.append(_call(at, operation, REVOKED if result is Result.REFUSED else "ok"))
        tasks.append(replace(WELL.tasks[0], params=dict(operation.params)))
    return replace(
        WELL,
        accepted=accepted,
        held=outcomes,
        seen={job: [Seen(found.attempts + moments[0] + 60, found)] for job, found in outcomes.items()},
        calls=calls,
        tasks=tasks,
        notes=notes,
        letters=list(outcomes) if result.needs_person else [],
    )


def _call(at: float, operation: StopStreamIngest, answer: str) -> Call:
    return replace(
        call(at, answer, authenticated=answer == "ok", carried_out=answer == "ok"), params=dict(operation.params)
    )


def _change(limit: float | None, at: float) -> LimitChange:
    return LimitChange(LANE, limit, at - 0.01, at)


def _revoked(began: float, ended: float, how: str = BY_CALLING) -> Happened:
    return happened(Kind.KEY, began, ended, how=f"{ACCOUNT} {how}")


def test_a_second_with_more_calls_than_the_limit_is_a_finding() -> None:
    three = _jobs(110.0, 110.4, 110.8)
    assert broken(three) == []
    assert broken(replace(three, limit_changes=[_change(3, 100.0)])) == []
    assert broken(replace(three, limit_changes=[_change(2, 100.0)])) == [SET_LIMITS]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ([_change(2, 108.0)], [SET_LIMITS]),
        ([_change(2, 109.5)], []),
        ([_change(2, 100.0), _change(None, 109.5)], []),
        ([_change(2, 100.0), _change(None, 110.6)], []),
        ([_change(2, 100.0), _change(None, 111.0)], [SET_LIMITS]),
        ([_change(2, 100.0), _change(1, 110.0)], [SET_LIMITS]),
        ([_change(2, 100.0), _change(3, 109.5), _change(1, 110.0)], []),
        ([LimitChange(LANE, 2, 100.0, 109.5)], []),
    ],
)
def test_the_highest_limit_counts_that_was_in_force_until_a_second_ago(
    changes: list[LimitChange], found: list[str]
) -> None:
    assert broken(replace(_jobs(110.0, 110.4, 110.8), limit_changes=changes)) == found


def test_a_limit_of_another_lane_holds_nothing_back() -> None:
    other = LimitChange(Lane("live-a", "live.StopMPUTask"), 2, 100.0, 100.1)
    assert broken(replace(_jobs(110.0, 110.4, 110.8), limit_changes=[other])) == []


def test_a_limit_that_redis_forgot_is_no_finding() -> None:
    limited = replace(_jobs(110.0, 110.4, 110.8), limit_changes=[_change(2, 100.0)])
    assert apart(replace(limited, faults=[happened(Kind.REDIS, 100.5, 101.0)])) != []
    assert broken(replace(limited, faults=[happened(Kind.REDIS, 105.0, 106.0)])) == [SET_LIMITS]


def test_five_jobs_may_end_refused_for_each_revocation() -> None:
    five, six = (_jobs(*(110 + number for number in range(count)), result=Result.REFUSED) for count in (5, 6))
    assert broken(replace(five, faults=[_revoked(109.0, 120.0)])) == []
    assert broken(replace(six, faults=[_revoked(109.0, 120.0)])) == [KEYS]
    assert broken(replace(six, faults=[_revoked(109.0, 113.5), _revoked(113.7, 120.0)])) == []
    assert broken(replace(six, faults=[_revoked(109.0, 113.5), _revoked(113.2, 120.0)])) == [KEYS]


def test_a_job_ends_refused_only_while_the_key_of_its_account_is_revoked() -> None:
    one = _jobs(110.0, result=Result.REFUSED)
    assert broken(one) == [KEYS]
    assert broken(replace(one, faults=[_revoked(100.0, 109.0)])) == [KEYS]
    assert broken(replace(one, faults=[happened(Kind.KEY, 109.0, 120.0, how=f"live-a {BY_CALLING}")])) == [KEYS]
    read_later = replace(one, calls=[replace(one.calls[0], decided_at=110.4)])
    assert broken(replace(read_later, faults=[_revoked(110.2, 120.0)])) == []
    assert broken(replace(read_later, faults=[_revoked(109.0, 110.2)])) == [KEYS]
    accepted = replace(one, calls=[replace(one.calls[0], authenticated=True)], faults=[_revoked(109.0, 120.0)])
    assert broken(accepted) == [RESULTS]


def test_who_resumes_an_account_for_its_key_ends_its_pause() -> None:
    pause = happened(Kind.PAUSE, 100.0, 120.0, how=ACCOUNT)
    one = _jobs(110.0)
    assert broken(replace(one, faults=[pause])) == [PAUSES]
    assert broken(replace(one, faults=[pause, _revoked(101.0, 102.0)])) == [PAUSES]
    assert broken(replace(one, faults=[pause, _revoked(101.0, 102.0, BY_RESUMING)])) == []
    assert broken(replace(one, faults=[pause, _revoked(97.0, 98.0, BY_RESUMING)])) == [PAUSES]
