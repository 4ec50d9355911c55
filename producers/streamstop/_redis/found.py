"""Found: builds sightings and views of jobs from what Redis holds, without I/O."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.letters import DeadLetter
from streamstop._core.sightings import JobView, Sighting, Where
from streamstop._tracing import trace_id
from streamstop._wire.messages import read_headers, read_waiting
from streamstop.outcomes import Outcome


def sighting_of(where: Where, lane: Lane, params: object, **fields: Any) -> Sighting:
    """Return a sighting in a lane."""
    values = params if isinstance(params, Mapping) else {}
    return Sighting(where=where, account=lane.account, operation=lane.operation, params=dict(values), **fields)


def ended_view(job_id: str, lane: Lane, outcome: Outcome | None, letter: DeadLetter | None) -> JobView:
    """Return the view of a job that has ended."""
    fields: dict[str, Any] = {"account": lane.account, "operation": lane.operation}
    if outcome is not None:
        fields |= outcome.model_dump(
            include={"account", "operation", "params", "enqueued_at", "attempts", "calls", "trace_id"}
        )
    where = Where.ENDED if letter is None else Where.DEAD
    return JobView(id=job_id, where=where, room=letter and letter.room, outcome=outcome, **fields)


def open_view(job_id: str, lane: Lane, where: Where, history: bytes, message: bytes) -> JobView:
    """Return the view of a job that has not ended."""
    attempts, job = AttemptHistory.parse(text_of(history)), read_waiting(message)
    params = job and job.command.get("params")
    return JobView(
        id=job_id,
        where=where,
        account=lane.account,
        operation=lane.operation,
        params=dict(params) if isinstance(params, Mapping) else None,
        enqueued_at=job and job.enqueued_at,
        expires_at=job and job.expires_at,
        attempts=attempts.attempts,
        calls=attempts.calls,
        trace_id=trace_id(read_headers(message)),
        shutdown=job and shutdown_of(job.command),
    )


def unwrapped(entry: bytes) -> tuple[bytes, bytes]:
    """Return the history and the message of an entry of a lane's list."""
    history, _, message = entry.partition(b"\n")
    return (history[1:], message) if entry.startswith(b"\1") else (b"", entry)


def shutdown_of(command: Mapping[str, Any]) -> str | None:
    """Return the shutdown that a command's JSON data names."""
    membership = command.get("shutdown")
    shutdown = membership.get("shutdown") if isinstance(membership, Mapping) else None
    return shutdown if isinstance(shutdown, str) else None


def identity_of(task: bytes) -> tuple[str, str, object]:
    """Return the account, operation and parameters that a registered task names."""
    try:
        account, operation, params = json.loads(task)
        return str(account), str(operation), params
    except (ValueError, RecursionError):
        return "", "", None


def lane_of(name: bytes) -> Lane:
    """Return the lane of a name."""
    return Lane.from_name(text_of(name))


def moment_of(microseconds: float) -> datetime:
    """Return the moment of so many µs since the epoch."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def text_of(raw: bytes) -> str:
    """Return text that Redis holds, whatever it is."""
    return raw.decode(errors="replace")
