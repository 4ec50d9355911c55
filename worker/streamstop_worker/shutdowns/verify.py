"""Verify: decides what follows a job of a shutdown: a status job, a second stop, or the member's result."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from streamstop._core.commands import VERSION, ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._core.lane_types import MemberResult, Queued
from streamstop._core.membership import Membership, Verification, member_result_of
from streamstop._tracing import Headers
from streamstop._wire.messages import celery_message
from streamstop.operations import OPERATIONS
from streamstop.outcomes import Outcome, Result

#: How long to wait until the next status call if the vendor answered that the task still runs.
ASK_AGAIN = timedelta(seconds=2)
_NO_HEADERS: Headers = {}


@dataclass(frozen=True)
class NextStep:
    """What is written for the shutdown together with a job's end: a member's result, the next job, or nothing."""

    member_result: MemberResult | None = None
    then: Queued | None = None


def after(
    membership: Membership | None,
    command: ReceivedCommand | None,
    outcome: Outcome,
    now: datetime,
    headers: Headers = _NO_HEADERS,
) -> NextStep:
    """Return the next step after a job has ended with `outcome`. A job outside of shutdowns has none.

    `headers` are those of the next job's message that name its trace.
    """
    if membership is None:
        return NextStep()
    verification = membership.verification
    if verification is not None:
        return _after_status(membership, verification, outcome, now, headers)
    stopped = outcome.result in {Result.STOPPED, Result.ALREADY_STOPPED}
    if membership.stop_attempt == 2 and outcome.result is Result.NOT_FOUND:
        # The vendor acknowledged the first stop, and no longer knows the task.
        return NextStep(member_result_of(membership, outcome.model_copy(update={"result": Result.VERIFIED})))
    if not (membership.verify and stopped and command is not None):
        return NextStep(member_result_of(membership, outcome))
    twin = command.operation.spec.status_twin
    if twin is None:
        return NextStep(member_result_of(membership, outcome.model_copy(update={"result": Result.UNVERIFIABLE})))
    params = command.operation.params
    in_verification = membership.model_copy(
        update={"verification": Verification(stopped=outcome, params=params, since=now.timestamp())}
    )
    parameter_names = {field.alias for field in OPERATIONS[twin].model_fields.values()}
    lane = Lane(command.account, twin)
    status_params = {name: value for name, value in params.items() if name in parameter_names}
    return NextStep(then=_job(in_verification, lane, status_params, headers))


def still_running(membership: Membership | None, outcome: Outcome, now: datetime) -> bool:
    """Return whether a status job that verifies a stop must ask again later instead of ending with `outcome`."""
    if membership is None or membership.verification is None or outcome.result is not Result.STATUS:
        return False
    over = outcome.status is not None and outcome.status.over
    return not over and now.timestamp() - membership.verification.since < membership.patience


def _after_status(
    membership: Membership, verification: Verification, outcome: Outcome, now: datetime, headers: Headers
) -> NextStep:
    """Return the next step after the last status job of a verification."""
    over = outcome.result is Result.NOT_FOUND or (outcome.status is not None and outcome.status.over)
    changes: dict[str, Any] = {"status": outcome.status, "ended_at": now}
    if over:
        # Vendors that delete ended tasks answer "not found" for them.
        verified = verification.stopped.model_copy(update={**changes, "result": Result.VERIFIED})
        return NextStep(member_result_of(membership, verified))
    if outcome.result is Result.STATUS and membership.stop_attempt == 1:
        again = membership.model_copy(update={"stop_attempt": 2, "verification": None})
        lane = Lane(verification.stopped.account, verification.stopped.operation)
        return NextStep(then=_job(again, lane, verification.params, headers))
    if outcome.result is Result.STATUS:
        changes["message"] = f"the vendor acknowledged two stops, and the task runs on {membership.patience:g} s later"
    else:
        changes |= {"code": outcome.code, "message": f"its status could not be read: {outcome.message}"}
    return NextStep(
        member_result_of(membership, verification.stopped.model_copy(update={**changes, "result": Result.NOT_VERIFIED}))
    )


def _job(membership: Membership, lane: Lane, params: Mapping[str, Any], headers: Headers) -> Queued:
    command = {"v": VERSION, "operation": lane.operation, "account": lane.account, "params": dict(params)}
    priority = 9 if membership.verification is not None else 3
    argument, job_id = membership.in_message(command), membership.job_id(lane)
    return Queued(lane, priority, celery_message(job_id, lane, argument, priority=priority, headers=headers))
