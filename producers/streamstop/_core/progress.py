"""Progress of a shutdown. Reading it costs the same whatever the size of the room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.lane_view import NO_ESTIMATE, LaneState, LaneView
from streamstop._core.membership import moment
from streamstop.outcomes import Outcome, Result


class ShutdownStatus(StrEnum):
    """The state of a shutdown."""

    OPEN = "open"
    DONE = "done"
    """Everything has ended well."""
    NEEDS_ATTENTION = "needs_attention"
    """Everything has ended, and at least one stream task needs a person's attention."""
    CANCELLED = "cancelled"


class LaneProgress(BaseModel):
    """A shutdown's share of one lane."""

    model_config = ConfigDict(frozen=True)

    account: str
    operation: str
    #: The shutdown's jobs, and how many of them have ended.
    total: int
    ended: int
    #: Calls per second at which the lane runs; None before its first job.
    pace: float | None
    #: Seconds for which the lane still rests.
    rests: float
    #: All jobs in the lane, including those of other producers.
    backlog: int
    #: What the lane does, and the same in words; see :class:`~streamstop.LaneView`.
    state: LaneState = LaneState.RUNNING
    state_text: str = LaneState.RUNNING.value

    @property
    def seconds_left(self) -> float | None:
        """The expected seconds until the shutdown's jobs in the lane have ended, from its pace and backlog.

        None: unknown, as before the lane's first job, or while it is paused.
        """
        remaining = self.total - self.ended
        if remaining <= 0:
            return 0.0
        if not self.pace or self.state in NO_ESTIMATE:
            return None
        return self.rests + max(self.backlog, remaining) / self.pace


class Progress(BaseModel):
    """The progress of a shutdown. Counters are exact; the time left is an estimate."""

    model_config = ConfigDict(frozen=True)

    shutdown: str
    room: str
    status: ShutdownStatus
    #: Stream tasks in the shutdown. The number can grow while it is open: tasks that start late join it.
    total: int
    #: How many stream tasks ended with each result.
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
        """Stream tasks that have not ended."""
        return self.total - self.ended

    @property
    def seconds_left(self) -> float | None:
        """The expected seconds until the last stream task has ended.

        None: unknown. No lane has a pace yet, or an unfinished lane is paused, held, failing or without a worker.
        """
        if self.status is not ShutdownStatus.OPEN:
            return 0.0
        if any(lane.ended < lane.total and lane.state in NO_ESTIMATE for lane in self.lanes):
            return None
        expected = [lane.seconds_left for lane in self.lanes]
        return max((seconds for seconds in expected if seconds is not None), default=None)


def progress_of(
    shutdown: str, fields: Mapping[str, str], counts: Mapping[Lane, tuple[int, int]], views: Sequence[LaneView]
) -> Progress:
    """Return the progress from a shutdown's hash, its counts by lane (total, ended), and the views of these lanes."""
    total = int(fields["total"])
    if fields["scanned"] != "1":
        total = max(total, int(fields.get("expected", "0")))
    return Progress(
        shutdown=shutdown,
        room=fields["room"],
        status=ShutdownStatus(fields["status"]),
        total=total,
        results={Result(key[2:]): int(count) for key, count in fields.items() if key.startswith("n:")},
        lanes=[
            LaneProgress(
                account=view.lane.account,
                operation=view.lane.operation,
                total=counts[view.lane][0],
                ended=counts[view.lane][1],
                pace=view.pace,
                rests=view.rest.total_seconds(),
                backlog=view.backlog,
                state=view.state,
                state_text=view.state_text,
            )
            for view in views
        ],
        opened_at=moment(fields.get("opened")),
        done_at=moment(fields.get("done")) if fields["status"] != "open" else None,
    )


@dataclass(frozen=True)
class RoomView:
    """The state of a room at one moment."""

    name: str
    #: The stops of the registered stream tasks.
    tasks: tuple[Command, ...]
    #: The id of the open or latest shutdown.
    shutdown: str | None


@dataclass(frozen=True)
class RoomPage:
    """A page of the stream tasks that are registered in a room, in no order."""

    name: str
    #: The stops of these stream tasks.
    tasks: tuple[Command, ...]
    #: The cursor of the next page; None after the last.
    next: str | None
    #: How many stream tasks are registered.
    total: int
    #: The id of the open or latest shutdown.
    shutdown: str | None


@dataclass(frozen=True)
class OutcomePage:
    """A page of the outcomes of a shutdown, in no order."""

    outcomes: tuple[Outcome, ...]
    #: The cursor of the next page; None after the last.
    next: str | None
