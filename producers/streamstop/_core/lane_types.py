"""What the lanes' scripts are told, and what they answer, as values."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from streamstop._core.lane import Lane


@dataclass(frozen=True)
class AttemptHistory:
    """What has happened to a job so far; kept in Redis while it waits."""

    #: Calls whose answer was judged.
    attempts: int = 0
    #: Calls that were sent, throttled ones included.
    calls: int = 0
    #: Times that its worker was lost between claim and report.
    lost_deliveries: int = 0
    #: Whether it was signed anew once.
    signed_again: bool = False
    #: When it was first left to a worker that knows more, in seconds since the epoch; 0: never.
    left: int = 0
    #: Whether a call may have been carried out whose answer did not say so.
    in_doubt: bool = False
    #: Times that a worker met a bug in streamstop while it handled the job. Workers of versions before read past it.
    bugs: int = 0

    def __str__(self) -> str:
        numbers = (
            self.attempts,
            self.calls,
            self.lost_deliveries,
            self.signed_again,
            self.left,
            self.in_doubt,
            self.bugs,
        )
        return " ".join(str(int(number)) for number in numbers)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote; an empty text is a new job's, and so is one that ``str`` did not write.

        Whoever may put messages into a lane may put any text before one.
        """
        try:
            numbers = [*map(int, text.split()), 0, 0, 0, 0, 0, 0, 0][:7]
        except ValueError:
            return cls()
        attempts, calls, lost_deliveries, signed_again, left, in_doubt, bugs = numbers
        return cls(attempts, calls, lost_deliveries, bool(signed_again), left, bool(in_doubt), bugs)


class LastCall(enum.Enum):
    """What the last call of a job that has ended says of its lane."""

    WELL = "well"
    """The vendor answered."""
    FAULT = "fault"
    """A transient fault."""
    NONE = "none"
    """There was no call."""


@dataclass(frozen=True)
class MemberResult:
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
    def fields(self) -> dict[str, str | bool]:
        """As the scripts take it."""
        return dict(vars(self))


@dataclass(frozen=True)
class DeadLetterRecord:
    """What is kept of a job that ended so that a person must look."""

    id: str
    #: As JSON: see :mod:`streamstop._core.letters`.
    text: str
    #: Whether the message itself is kept too, for nobody could read it.
    quote: bool

    @property
    def fields(self) -> dict[str, str | bool]:
        """As the scripts take it."""
        return dict(vars(self))


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


@dataclass(frozen=True)
class SendDelay:
    """How late a call left its worker, for the slots behind it to move on."""

    #: After its slot.
    late: timedelta = timedelta(0)
    #: µs by which slots had moved when the call was given its own.
    slots_shifted_us: int = 0


#: A call that left at its slot, or that was not made.
ON_TIME = SendDelay()


@dataclass(frozen=True)
class Taken:
    """A job that a worker has taken out of its lane. It is the worker's until it reports, or its lease ends."""

    lane: Lane
    job_id: str
    #: As it lay in its lane: a Celery message.
    message: bytes
    #: Who took it: what a report must name.
    owner: str
    history: AttemptHistory
    #: The moment of its call, µs by Redis' clock; 0: it has none, for no worker can call it.
    slot_us: int
    #: See :class:`SendDelay`.
    slots_shifted_us: int


@dataclass(frozen=True)
class Take:
    """What one look at the lanes brought."""

    #: By Redis' clock; and as µs since the epoch.
    now: datetime
    now_us: int
    jobs: Sequence[Taken]
    #: Jobs of shutdowns that had ended before they were taken. They have leases until they are reported as dropped, so
    #: that a worker which is lost before it has counted them loses none.
    ended: Sequence[Taken]
    #: Lanes of accounts that this worker does not have, and that nobody has served for a while.
    unserved_lanes: Sequence[Lane]
    #: Lanes whose keys Redis fails over, as where another program wrote one of them, and its error.
    broken: Mapping[Lane, str]
    #: How long until a lane is due; None: none will be before something changes.
    next_in: timedelta | None


@dataclass(frozen=True)
class Swept:
    """What one sweep did."""

    #: Whether there is more to mend at once.
    again: bool
    #: How many lanes had the moment of their next look set anew, for the clock was set back.
    moved: int
    #: Whether there are batches that are not all in their lanes.
    batches: bool
    #: How many leases ran out, by lane.
    expired_leases: Mapping[Lane, int]
    #: Lanes whose keys Redis fails over, and its error.
    broken: Mapping[Lane, str]


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
