"""Outcomes: how a job ended, as workers record it and producers read it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Result(StrEnum):
    """All results with which a job can end."""

    STOPPED = "stopped"
    """The vendor accepted the stop."""
    ALREADY_STOPPED = "already_stopped"
    """The stream task had ended before. This is a success."""
    STATUS = "status"
    """The vendor returned the requested status."""
    NOT_FOUND = "not_found"
    """The vendor does not know the stream task."""
    REFUSED = "refused"
    """The vendor or the worker refuses it: credentials, permission, parameters."""
    GAVE_UP = "gave_up"
    """The job has reached the limit of transient faults, lost deliveries or bugs in streamstop."""
    EXPIRED = "expired"
    """The command's expiry passed before the call; the vendor was not called again."""
    CANCELLED = "cancelled"
    """A producer cancelled the job before a worker claimed it."""

    VERIFIED = "verified"
    """In a verified shutdown: stopped, and the vendor's status confirms it."""
    NOT_VERIFIED = "not_verified"
    """In a verified shutdown: the vendor accepted two stops, but its status did not confirm them."""
    UNVERIFIABLE = "unverifiable"
    """In a verified shutdown: stopped, and the vendor has no status operation to confirm it."""

    @property
    def ok(self) -> bool:
        """Whether the producer got what it asked for."""
        return self in _OK

    @property
    def needs_person(self) -> bool:
        """Whether a person should look at the reason."""
        return self not in _OK and self is not Result.CANCELLED


_OK = frozenset({Result.STOPPED, Result.ALREADY_STOPPED, Result.STATUS, Result.VERIFIED, Result.UNVERIFIABLE})


class State(StrEnum):
    """The meaning of a vendor's status value, in the same words for all vendors."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    ABNORMAL = "abnormal"
    """Still alive: the vendor keeps retrying."""
    UNKNOWN = "unknown"
    """A value that the vendor's documentation does not list."""


class Status(BaseModel):
    """A vendor's answer to a status operation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The value as the vendor sent it.
    raw: int | str | None = None
    state: State
    #: Whether the stream task has ended, so that the vendor no longer bills it.
    over: bool


class Outcome(BaseModel):
    """How a job ended, and the vendor's last answer. Times are UTC, by Redis' clock."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    result: Result
    job_id: str
    operation: str
    account: str
    #: The operation's parameters under the vendor's names; None if no worker could read them.
    params: dict[str, Any] | None = None
    #: Code and message of the vendor's last answer; without an answer, the worker's reason.
    code: str | None = None
    message: str | None = None
    #: The vendor's request id of the last answer. The vendor's support asks for it.
    request_id: str | None = None
    #: Calls that count as attempts. A throttled call does not count.
    attempts: int = 0
    #: Calls that were sent, throttled ones included.
    calls: int = 0
    #: How long the call that ended the job took, in seconds; None if none did.
    call_seconds: float | None = None
    enqueued_at: datetime | None = None
    ended_at: datetime | None = None
    #: The id of the trace in which the job was enqueued.
    trace_id: str | None = None
    #: For status operations.
    status: Status | None = None
    #: The vendor's whole reply, for operations that list or describe.
    reply: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the producer got what it asked for."""
        return self.result.ok


@dataclass(frozen=True)
class Deferral:
    """Why a job waits for another call, and until when."""

    reason: str
    due: datetime
