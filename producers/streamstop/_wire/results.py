"""Records: a job's state as Celery's result backend keeps it, so that ``AsyncResult`` and Flower show it too.

A job that needs nobody is ``SUCCESS`` with the outcome as result; one that needs a person is ``FAILURE`` with
:class:`~streamstop.errors.JobFailed`; a cancelled one ``REVOKED``; a deferred one ``RETRY`` with its reason.
The scripts tell a deferred job's record by its first characters, ``{"status": "RETRY"``.

A record is most of what Redis holds of a job that has ended. So it has no spaces, and no field that Celery reads with a
default. Celery needs ``task_id``: by it, it matches what Redis publishes with whoever waits. The moment of the end is
``date_done``. The id names lane and operation, but ``job_id``, ``operation`` and ``account`` stay in the result:
producers of earlier versions read no outcome without them, and ``Outcome.model_validate`` takes what
``AsyncResult.get`` returns. :func:`read_record` does not need them.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streamstop._core.lane import Lane
from streamstop.outcomes import Deferral, Outcome, Result


def outcome_record(outcome: Outcome) -> str:
    """Return the record of a job that has ended."""
    data = outcome.model_dump(mode="json", exclude_none=True, exclude={"ended_at"})
    if outcome.ok:
        return _record(outcome.job_id, "SUCCESS", data, outcome.ended_at)
    status = "REVOKED" if outcome.result is Result.CANCELLED else "FAILURE"
    result = {"exc_type": "JobFailed", "exc_module": "streamstop.errors", "exc_message": [data]}
    return _record(outcome.job_id, status, result, outcome.ended_at)


def deferral_record(job_id: str, deferral: Deferral) -> str:
    """Return the record of a job that is to be called again."""
    message = [deferral.reason, deferral.due.isoformat()]
    return _record(
        job_id,
        "RETRY",
        {"exc_type": "JobDeferred", "exc_module": "streamstop.errors", "exc_message": message},
        None,
    )


def step_record(job_id: str, step: str, done: datetime) -> str:
    """Return the record of a control job that has ended: which step of a shutdown it was."""
    return _record(job_id, "SUCCESS", {"step": step}, done)


def read_record(record: bytes | str) -> Outcome | Deferral | None:
    """Return what a record says; None for one that is not ours, or that a newer version wrote."""
    try:
        return _read(json.loads(record))
    except (ValueError, TypeError, RecursionError):
        return None


def _read(record: Any) -> Outcome | Deferral | None:
    match record:
        case {"status": "SUCCESS", "result": {"result": _} as outcome}:
            return _outcome(record, outcome)
        case {"result": {"exc_type": "JobFailed", "exc_message": [dict(outcome)]}}:
            return _outcome(record, outcome)
        case {"result": {"exc_type": "JobDeferred", "exc_message": [reason, due]}}:
            return Deferral(reason, datetime.fromisoformat(due))
        case _:
            return None


def _outcome(record: Mapping[str, Any], outcome: Mapping[str, Any]) -> Outcome:
    """Return the outcome, with what the record says around it; where the outcome says so itself, that counts."""
    job_id = record.get("task_id")
    lane = Lane.of_job(job_id) if isinstance(job_id, str) else None
    around = {"job_id": job_id, "ended_at": record.get("date_done")}
    if lane is not None:
        around |= {"operation": lane.operation, "account": lane.account}
    return Outcome.model_validate(around | dict(outcome))


def _record(job_id: str, status: str, result: Any, done: datetime | None) -> str:
    record = {"result": result, "task_id": job_id}
    if done is not None:
        record["date_done"] = done.isoformat()
    # The status comes first, with the space that the scripts look for.
    return f'{{"status": "{status}",{json.dumps(record, separators=(",", ":"))[1:]}'
