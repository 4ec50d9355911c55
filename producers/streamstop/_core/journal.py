"""Journal: what happened to lanes, accounts and workers, and the vendors' errors, as people on call read them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from streamstop.errors import InvalidCommand, quoted

#: How long error counts are kept.
ERRORS_KEPT = timedelta(days=1)
#: The longest age that a caller can ask events of.
LONGEST_SINCE = timedelta(days=365)

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


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
    CANCELLED = "cancelled"
    """Somebody cancelled a job or a shutdown, and gave a name."""
    ROOM_STOPPED = "room_stopped"
    """Somebody stopped a room, and gave a name."""
    REQUEUED = "requeued"
    """Somebody enqueued the commands of dead letters again."""
    DROPPED = "dropped"
    """Somebody deleted dead letters."""
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
    #: Text, if a newer version has written a kind that this one does not know.
    kind: EventKind | str = Field(union_mode="left_to_right")
    account: str | None = None
    operation: str | None = None
    #: Who did it, for what a person did; the worker's name, for what happened to a worker.
    by: str | None = None
    #: What happened, in a sentence.
    text: str = ""


@dataclass(frozen=True)
class EventFilter:
    """Which events a caller wants.

    Raises :class:`~streamstop.errors.InvalidCommand` if `after` is no event's id.
    """

    account: str | None
    after: str | None

    def __post_init__(self) -> None:
        if self.after is not None:
            found = _ID.fullmatch(self.after) if isinstance(self.after, str) else None
            if found is None or max(map(int, found.groups())) >= 2**64:
                raise InvalidCommand(
                    f"after {quoted(self.after)} must be an event's id, such as 1767225600123-0", field="after"
                )

    def fits(self, event: Event) -> bool:
        """Whether the caller wants `event`."""
        return self.account in {None, event.account}


def event_order(event_id: str) -> tuple[int, int]:
    """Return where an event stands among others: later events have greater orders."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)


class ErrorCount(BaseModel):
    """How often an operation of an account got one code, from its vendor or the network. Deferred attempts count.

    Of more than 500 kinds in five minutes, the further ones count together: their code is ``other``, and they have
    neither account nor operation.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    operation: str
    code: str
    count: int
    #: The newest answer with this code.
    at: datetime
    message: str | None = None
    request_id: str | None = None


def sorted_counts(counts: Iterable[ErrorCount]) -> list[ErrorCount]:
    """Return error counts in the order in which people read them: the most first."""
    return sorted(counts, key=lambda each: (-each.count, each.account, each.operation, each.code))
