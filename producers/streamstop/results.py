"""Records: a job's state as Celery's result backend keeps it, so that ``AsyncResult`` and Flower show it too.

A job that needs nobody is ``SUCCESS`` with the outcome as result; one that needs a person is ``FAILURE`` with
:class:`~streamstop.errors.JobFailed`; a cancelled one ``REVOKED``; a deferred one ``RETRY`` with its reason.
The scripts tell a deferred job's record by its first characters, ``{"status": "RETRY"``.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamstop.outcomes import Outcome, Result


@dataclass(frozen=True)
class Deferral:
    """Why a job is waiting to be called again, and until when."""

    reason: str
    due: datetime


def outcome_record(outcome: Outcome) -> str:
    """Return the record of a job that has ended."""
    data = outcome.model_dump(mode="json", exclude_none=True)
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


def _read(data: object) -> Outcome | Deferral | None:
    match data:
        case {"status": "SUCCESS", "result": {"job_id": _} as outcome}:
            return Outcome.model_validate(outcome)
        case {"result": {"exc_type": "JobFailed", "exc_message": [outcome]}}:
            return Outcome.model_validate(outcome)
        case {"result": {"exc_type": "JobDeferred", "exc_message": [reason, due]}}:
            return Deferral(reason, datetime.fromisoformat(due))
        case _:
            return None


def _record(job_id: str, status: str, result: Any, done: datetime | None) -> str:
    return json.dumps(
        {
            "status": status,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": None if done is None else done.isoformat(),
            "task_id": job_id,
        }
    )
