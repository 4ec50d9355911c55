"""How a job ended: :class:`Outcome`, the one shape in which workers record it and producers read it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Result(StrEnum):
    """The closed set of ways in which a job ends."""

    STOPPED = "stopped"
    """The vendor accepted the stop."""
    ALREADY_STOPPED = "already_stopped"
    """The stream task had ended before: a success."""
    STATUS = "status"
    """The vendor told the status that was asked for."""
    NOT_FOUND = "not_found"
    """The vendor does not know the stream task."""
    REFUSED = "refused"
    """The vendor, or the worker, will not do it: credentials, permission, parameters."""
    GAVE_UP = "gave_up"
    """Transient faults, or lost workers, or bugs in streamstop, as often as a job may meet them."""
    EXPIRED = "expired"
    """The command's expiry passed before the call; the vendor was not called again."""
    CANCELLED = "cancelled"
    """A producer took the job back before a worker claimed it."""

    VERIFIED = "verified"
    """In a verified shutdown: stopped, and the vendor's status says that it is over."""
    NOT_VERIFIED = "not_verified"
    """In a verified shutdown: the vendor acknowledged two stops, and the stream task runs on or cannot be asked for."""
    UNVERIFIABLE = "unverifiable"
    """In a verified shutdown: stopped, and the vendor has no operation that tells whether it is."""

    @property
    def ok(self) -> bool:
        """Whether the producer got what it asked for."""
        return self in _OK

    @property
    def needs_person(self) -> bool:
        """Whether somebody should look at the reason."""
        return self not in _OK and self is not Result.CANCELLED


_OK = frozenset({Result.STOPPED, Result.ALREADY_STOPPED, Result.STATUS, Result.VERIFIED, Result.UNVERIFIABLE})


class State(StrEnum):
    """What a vendor's status value means, in words that all vendors share."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    ABNORMAL = "abnormal"
    """Alive, and the vendor keeps trying."""
    UNKNOWN = "unknown"
    """A value that the vendor's page does not list."""


class Status(BaseModel):
    """A vendor's answer to a status operation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The value as the vendor sent it.
    raw: int | str | None = None
    state: State
    #: Whether the stream task has ended, and so bills no longer.
    over: bool


class Outcome(BaseModel):
    """How a job ended, and what the vendor said. Times are UTC, by Redis' clock."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    result: Result
    job_id: str
    operation: str
    account: str
    #: The operation's parameters under the vendor's names, where a worker could read them.
    params: dict[str, Any] | None = None
    #: The vendor's own code and message of the last answer; the worker's reason where there was no answer.
    code: str | None = None
    message: str | None = None
    #: The vendor's request id of the last answer: what its support asks for.
    request_id: str | None = None
    #: Calls that were judged; a throttled call is none of these.
    attempts: int = 0
    #: Calls that were sent, throttled ones included.
    calls: int = 0
    enqueued_at: datetime | None = None
    ended_at: datetime | None = None
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
    """Why a job is waiting to be called again, and until when."""

    reason: str
    due: datetime
