"""Records: a job's state in the format of Celery's result backend, so that ``AsyncResult`` and Flower show it.

A job that needs no attention is ``SUCCESS`` with the outcome as result. A job that needs a person is ``FAILURE`` with
:class:`~streamstop.errors.JobFailed`. A cancelled job is ``REVOKED``. A deferred job is ``RETRY`` with its reason; the
scripts recognise its record by the first characters, ``{"status": "RETRY"``.

Records are most of what Redis stores for jobs that have ended. So a record has no spaces, and no field for which Celery
has a default. Celery needs ``task_id`` to match a published record with the call that waits for it. ``date_done`` is
the moment of the end. ``job_id``, ``operation`` and ``account`` repeat the id; :func:`read_record` does not need them.
They stay in the result because producers of earlier versions do need them, and because ``Outcome.model_validate`` must
accept what ``AsyncResult.get`` returns.
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
    """Return the record of a deferred job."""
    message = [deferral.reason, deferral.due.isoformat()]
    return _record(
        job_id,
        "RETRY",
        {"exc_type": "JobDeferred", "exc_module": "streamstop.errors", "exc_message": message},
        None,
    )


def step_record(job_id: str, step: str, done: datetime) -> str:
    """Return the record of a control job that has ended; `step` is its step of the shutdown."""
    return _record(job_id, "SUCCESS", {"step": step}, done)


def read_record(record: bytes | str) -> Outcome | Deferral | None:
    """Return the content of a record; None if streamstop did not write it, or a newer version did."""
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
    """Return the outcome, completed from the rest of the record. The outcome's own fields take precedence."""
    job_id = record.get("task_id")
    lane = Lane.of_job(job_id) if isinstance(job_id, str) else None
    fields = {"job_id": job_id, "ended_at": record.get("date_done")}
    if lane is not None:
        fields |= {"operation": lane.operation, "account": lane.account}
    return Outcome.model_validate(fields | dict(outcome))


def _record(job_id: str, status: str, result: Any, done: datetime | None) -> str:
    record = {"result": result, "task_id": job_id}
    if done is not None:
        record["date_done"] = done.isoformat()
    # The status comes first, with the space that the scripts expect.
    return f'{{"status": "{status}",{json.dumps(record, separators=(",", ":"))[1:]}'
