"""What the lanes' scripts are told, and what they answer, as values."""

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from streamstop.lanes.names import Lane


@dataclass(frozen=True)
class Tries:
    """What has happened to a job so far; kept in Redis while it waits."""

    #: Calls whose answer was judged.
    attempts: int = 0
    #: Calls that were sent, throttled ones included.
    calls: int = 0
    #: Times that its worker was lost between claim and report.
    lapses: int = 0
    #: Whether it was signed anew once.
    signed_again: bool = False
    #: When it was first left to a worker that knows more, in seconds since the epoch; 0: never.
    left: int = 0
    #: Whether a call may have been carried out whose answer did not say so.
    in_doubt: bool = False

    def __str__(self) -> str:
        numbers = (self.attempts, self.calls, self.lapses, self.signed_again, self.left, self.in_doubt)
        return " ".join(str(int(number)) for number in numbers)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote; an empty text is a new job's."""
        numbers = [*map(int, text.split()), 0, 0, 0, 0, 0, 0][:6]
        attempts, calls, lapses, signed_again, left, in_doubt = numbers
        return cls(attempts, calls, lapses, bool(signed_again), left, bool(in_doubt))


_NEVER = datetime.fromtimestamp(0, UTC)


class LastCall(enum.Enum):
    """What the last call of a job that has ended says of its lane."""

    WELL = "well"
    """The vendor answered."""
    FAULT = "fault"
    """A transient fault."""
    NONE = "none"
    """There was no call."""


@dataclass(frozen=True)
class Settlement:
    """How a stream task of a shutdown ended, to be counted once."""

    shutdown: str
    member: str
    result: str
    #: The outcome, as JSON.
    outcome: str
    #: Whether the stream task is over: it leaves the room's registry.
    ok: bool
    #: Whether a person should look at it.
    attention: bool

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """As the scripts take it."""
        return (self.shutdown, self.member, self.result, self.outcome, int(self.ok), int(self.attention))


@dataclass(frozen=True)
class Letter:
    """What is kept of a job that ended so that a person must look."""

    id: str
    #: As JSON: see :mod:`streamstop.dead.letters`.
    text: str
    #: Whether the message itself is kept too, for nobody could read it.
    quote: bool

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """As the scripts take it."""
        return (self.id, self.text, int(self.quote))


@dataclass(frozen=True)
class Queued:
    """A message for a lane."""

    lane: Lane
    priority: int
    message: str

    @property
    def list(self) -> str:
        """The list of the lane's queue that holds this priority."""
        return self.lane.waiting[min(self.priority, 9) // 3]


class Claimed(enum.Enum):
    """What became of a claim."""

    GO = "go"
    """The job is the owner's, with a slot."""
    EXPIRED = "expired"
    """The job is the owner's, to be recorded as expired."""
    STALE = "stale"
    """The job has reported, or is another delivery's."""
    PARKED = "parked"
    """The job is back in its lane: its slot is too far off."""


@dataclass(frozen=True)
class Lateness:
    """How late a call left its worker, for the slots behind it to move on."""

    #: After its slot.
    late: timedelta = timedelta(0)
    #: µs by which slots had moved when the call was given its own: what the claim told.
    moved_us: int = 0

    @property
    def arguments(self) -> tuple[int, int]:
        """As the scripts take it."""
        return (self.late // timedelta(microseconds=1), self.moved_us)


#: A call that left at its slot, or that was not made.
ON_TIME = Lateness()


@dataclass(frozen=True)
class Claim:
    """Redis' answer to a claim."""

    what: Claimed
    #: How long until the slot.
    wait: timedelta = timedelta(0)
    #: The moment of the claim, by Redis' clock; meaningless where the job is not the owner's.
    at: datetime = _NEVER
    tries: Tries = Tries()
    #: See :class:`Lateness`.
    moved_us: int = 0


@dataclass(frozen=True)
class Swept:
    """What one sweep of a lane did."""

    lapsed: int
    due: int
    admitted: int
    #: Jobs that workers took and could not begin, with their messages: the sweep's owner is to end them.
    unbegun: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class LaneView:
    """What a lane holds, for people and progress bars."""

    lane: Lane
    waiting: int
    in_flight: int
    deferred: int
    #: How long the lane still rests.
    rest: timedelta
    #: Calls per second at which it now runs, None before its first job.
    pace: float | None
