"""Journal: what happened to lanes, accounts and workers, and the vendors' errors, as people on call read them."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class EventKind(StrEnum):
    """Everything that becomes an event."""

    RESTING = "resting"
    """A vendor throttles a lane, which rests."""
    FAILING = "failing"
    """Transient faults in a row: a lane rests, and then makes one call at a time."""
    RECOVERED = "recovered"
    """The first good answer after a lane was failing."""
    HELD = "held"
    """A vendor refuses an account's key: the account's jobs wait."""
    RELEASED = "released"
    """The hold of an account has ended."""
    PAUSED = "paused"
    RESUMED = "resumed"
    """A pause has ended: somebody resumed the scope, or its time was over."""
    LIMIT_SET = "limit_set"
    LIMIT_CLEARED = "limit_cleared"
    """A limit that a person had set has ended: somebody cleared it, or its time was over."""
    DRAINED = "drained"
    """Somebody cancelled jobs that waited."""
    KEY_REFUSED = "key_refused"
    """A vendor refuses an account's key for a call."""
    UNKNOWN_CODE = "unknown_code"
    """A vendor answered with a code that no table lists."""
    ACCOUNTS_CHANGED = "accounts_changed"
    """A worker has loaded its accounts file again, and something in it differs."""
    WORKER_STARTED = "worker_started"
    WORKER_STOPPED = "worker_stopped"
    WORKER_LOST = "worker_lost"
    """A worker has shown no sign of life for half a minute."""


class Event(BaseModel):
    """One event. Redis keeps the latest 10,000."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Its id in Redis' stream: later events have greater ids.
    id: str
    #: By Redis' clock.
    at: datetime
    kind: EventKind
    account: str | None = None
    operation: str | None = None
    #: Who did it, for what a person did; the worker's name, for what happened to a worker.
    by: str | None = None
    #: What happened, in a sentence.
    text: str = ""


class ErrorCount(BaseModel):
    """How often an operation of an account got one code, from its vendor or the network. Deferred attempts count."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    operation: str
    code: str
    count: int
    #: The newest answer with this code.
    at: datetime
    message: str | None = None
    request_id: str | None = None
