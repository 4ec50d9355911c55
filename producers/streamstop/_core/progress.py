"""Progress: how far a shutdown is, at a cost that does not grow with the room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LaneView
from streamstop._core.membership import moment
from streamstop.outcomes import Result


class ShutdownStatus(StrEnum):
    """Where a shutdown is."""

    OPEN = "open"
    DONE = "done"
    """Everything has ended well."""
    NEEDS_ATTENTION = "needs_attention"
    """Everything has ended, and something so that a person should look."""
    CANCELLED = "cancelled"


class LaneProgress(BaseModel):
    """A shutdown's part of one lane."""

    model_config = ConfigDict(frozen=True)

    account: str
    operation: str
    #: Jobs of the shutdown, and those of them that have ended.
    total: int
    ended: int
    #: Calls per second at which the lane runs; None before its first job.
    pace: float | None
    #: Seconds that the lane still rests.
    rests: float
    #: Jobs in the lane, other producers' too.
    backlog: int

    @property
    def seconds_left(self) -> float | None:
        """Return the expected seconds until the shutdown's part is over, by the lane's pace and backlog."""
        remaining = self.total - self.ended
        if remaining <= 0:
            return 0.0
        return None if not self.pace else self.rests + max(self.backlog, remaining) / self.pace


class Progress(BaseModel):
    """How far a shutdown is. Counters are exact; the time left is an expectation."""

    model_config = ConfigDict(frozen=True)

    shutdown: str
    room: str
    status: ShutdownStatus
    #: Stream tasks in the shutdown. It can grow while the shutdown is open: late starters join it.
    total: int
    #: Results to how many stream tasks ended so.
    results: Mapping[Result, int]
    lanes: Sequence[LaneProgress]
    opened_at: datetime | None
    done_at: datetime | None

    @property
    def ended(self) -> int:
        """Stream tasks that have ended."""
        return sum(self.results.values())

    @property
    def pending(self) -> int:
        """Stream tasks that have not."""
        return self.total - self.ended

    @property
    def seconds_left(self) -> float | None:
        """The expected seconds until the last task has ended; None where a lane has not run yet."""
        if self.status is not ShutdownStatus.OPEN:
            return 0.0
        expected = [lane.seconds_left for lane in self.lanes]
        return max((seconds for seconds in expected if seconds is not None), default=None)


def progress_of(
    shutdown: str, held: Mapping[str, str], counts: Mapping[Lane, tuple[int, int]], views: Sequence[LaneView]
) -> Progress:
    """Make a progress from a shutdown's hash, its counts by lane (total, ended) and what these lanes hold."""
    total = int(held["total"])
    if held["scanned"] != "1":
        total = max(total, int(held.get("expected", "0")))
    return Progress(
        shutdown=shutdown,
        room=held["room"],
        status=ShutdownStatus(held["status"]),
        total=total,
        results={Result(key[2:]): int(count) for key, count in held.items() if key.startswith("n:")},
        lanes=[
            LaneProgress(
                account=view.lane.account,
                operation=view.lane.operation,
                total=counts[view.lane][0],
                ended=counts[view.lane][1],
                pace=view.pace,
                rests=view.rest.total_seconds(),
                backlog=view.waiting + view.in_flight + view.deferred,
            )
            for view in views
        ],
        opened_at=moment(held.get("opened")),
        done_at=moment(held.get("done")) if held["status"] != "open" else None,
    )


@dataclass(frozen=True)
class RoomView:
    """A room, as it was when it was looked at."""

    name: str
    #: The stops of what is registered.
    tasks: tuple[Command, ...]
    #: The id of its open or latest shutdown.
    shutdown: str | None
