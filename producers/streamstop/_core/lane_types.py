"""Lane types: the arguments and the replies of the lanes' scripts, as values."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from streamstop._core.answers import LONGEST_MESSAGE
from streamstop._core.lane import Lane


@dataclass(frozen=True)
class AttemptHistory:
    """What has happened to a job so far. Redis stores it while the job waits."""

    #: Calls whose answer counts as an attempt.
    attempts: int = 0
    #: Calls that were sent, throttled ones included.
    calls: int = 0
    #: Deliveries that were lost: the worker stopped between claim and report.
    lost_deliveries: int = 0
    #: Whether the call was signed again once.
    signed_again: bool = False
    #: When a worker first left the job to a worker of a newer version, in seconds since the epoch; 0: never.
    left: int = 0
    #: Whether the vendor may have carried out a call without saying so.
    in_doubt: bool = False
    #: Deliveries that ended in a bug in streamstop. Workers of earlier versions ignore this number.
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
        """Read what ``str`` wrote. Any other text, and an empty one, is the history of a new job.

        A producer that may put messages into a lane may put any text before one.
        """
        try:
            numbers = [*map(int, text.split()), 0, 0, 0, 0, 0, 0, 0][:7]
        except ValueError:
            return cls()
        attempts, calls, lost_deliveries, signed_again, left, in_doubt, bugs = numbers
        return cls(attempts, calls, lost_deliveries, bool(signed_again), left, bool(in_doubt), bugs)


class LastCall(enum.Enum):
    """The last call of a job, as a report describes it."""

    WELL = "well"
    """The vendor answered."""
    FAULT = "fault"
    """A transient fault."""
    NONE = "none"
    """No call was made."""


@dataclass(frozen=True)
class CallError:
    """An answer of a vendor that was no success, or a fault of the network: what the journal counts."""

    code: str
    message: str | None
    request_id: str | None
    #: Whether no table lists the code.
    is_unknown: bool

    @property
    def fields(self) -> dict[str, str | bool]:
        """As the scripts take it."""
        texts = {"code": self.code, "message": (self.message or "")[:LONGEST_MESSAGE], "request_id": self.request_id}
        return {name: text for name, text in texts.items() if text} | ({"unknown": True} if self.is_unknown else {})


@dataclass(frozen=True)
class MemberResult:
    """How a stream task of a shutdown ended. Redis counts it once."""

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
    """A dead letter as a script stores it."""

    id: str
    #: JSON: see :mod:`streamstop._core.letters`.
    text: str
    #: Whether the script stores the message too, because no worker could read it.
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
    """How late a call left its worker. The lane shifts later slots by it."""

    #: From the call's slot to the moment it left.
    late: timedelta = timedelta(0)
    #: µs by which slots had already been shifted when the call was given its slot.
    slots_shifted_us: int = 0


#: The delay of a call that left at its slot, or that was not made.
ON_TIME = SendDelay()


@dataclass(frozen=True)
class Taken:
    """A job that a worker has taken from its lane. The worker owns it until it reports, or until the lease ends."""

    lane: Lane
    job_id: str
    #: A Celery message, unchanged.
    message: bytes
    #: The token of the take. A report must name it.
    owner: str
    history: AttemptHistory
    #: The moment of its call, in µs by Redis' clock; 0: none, for no worker can call it.
    slot_us: int
    #: See :class:`SendDelay`.
    slots_shifted_us: int


@dataclass(frozen=True)
class Take:
    """The reply of one take."""

    #: The time by Redis' clock, and the same in µs since the epoch.
    now: datetime
    now_us: int
    jobs: Sequence[Taken]
    #: Jobs of shutdowns that had ended before they were taken. They have leases until the worker has counted them and
    #: reported them as dropped, so that a lost worker loses none.
    ended: Sequence[Taken]
    #: Lanes of accounts that this worker does not have, and that no worker has served for a while.
    unserved_lanes: Sequence[Lane]
    #: Lanes with a key that fails in Redis, as one that another program wrote, and the error.
    broken: Mapping[Lane, str]
    #: How long until a lane is due; None: no lane is scheduled.
    next_in: timedelta | None


@dataclass(frozen=True)
class Swept:
    """The reply of one sweep."""

    #: Whether there is more to do at once.
    again: bool
    #: How many lanes were rescheduled because the clock was set back.
    rescheduled: int
    #: Whether there are batches whose messages are not all in their lanes.
    batches: bool
    #: Whether there are pauses, limits or holds.
    controls: bool
    #: How many leases expired, by lane.
    expired_leases: Mapping[Lane, int]
    #: Lanes with a key that fails in Redis, and the error.
    broken: Mapping[Lane, str]
    #: The moments of the last sweep and of this one, µs.
    last_us: int
    now_us: int
