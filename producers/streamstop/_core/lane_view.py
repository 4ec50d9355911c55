"""Lane view: what a lane holds and does at one moment, as people and programs read it."""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, computed_field

from streamstop._core.controls import Hold, Limit, Pause
from streamstop._core.durations import duration_text
from streamstop._core.lane import Lane

#: The transient faults in a row that make a lane fail: FAILING in lib/lane.
FAILING = 5
_DAY = timedelta(days=1)


class LaneState(StrEnum):
    """What a lane does. Where several states apply, the last of them here is shown."""

    IDLE = "idle"
    """No job waits, and none is in flight."""
    RUNNING = "running"
    RESTING = "resting"
    """A vendor throttles the lane, or calls failed: it makes no call for a while."""
    FAILING = "failing"
    """The last five calls met transient faults. One call at a time is made, as a probe."""
    NO_WORKER = "no_worker"
    """The lane holds jobs, and no running worker has its account."""
    HELD = "held"
    """The vendor refuses the account's key. One call a minute is made, as a probe."""
    PAUSED = "paused"
    """Somebody has paused the lane, its account, its vendor, or everything."""


#: States in which nothing tells when the jobs will end.
NO_ESTIMATE = frozenset({LaneState.PAUSED, LaneState.HELD, LaneState.NO_WORKER, LaneState.FAILING})


class LaneError(BaseModel):
    """The last answer of a lane's vendor, or of the network, that was not good."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    at: datetime


class LaneView(BaseModel):
    """The contents of a lane, and its state. Moments are by Redis' clock; JSON has durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float")

    account: str
    operation: str
    #: When this was read.
    at: datetime
    #: Jobs that wait for a call, jobs that a worker has taken, and jobs that wait again after a fault.
    waiting: int = 0
    in_flight: int = 0
    deferred: int = 0
    #: When the job that has waited longest was enqueued; None: none waits, or its message does not say.
    oldest_waiting_at: datetime | None = None
    #: How long until the first deferred job waits again.
    next_deferred: timedelta | None = None
    #: How long the lane still rests after throttling or faults.
    rest: timedelta = timedelta(0)
    #: Calls per second at which the lane runs now; None before its first job.
    pace: float | None = None
    #: Its limit in calls per second, as configured or overridden; None before its first job.
    limit: float | None = None
    #: The limit that a person has set instead of the configured one.
    limit_override: Limit | None = None
    #: The pause that ends last of those that apply to the lane.
    paused: Pause | None = None
    held: Hold | None = None
    #: Transient faults in a row.
    faults: int = 0
    #: Calls of the lane so far, and how many of them the vendor throttled. They begin again at 0 after a day without a
    #: call. A call counts from up to 60 ms before it is sent.
    calls: int = 0
    throttled: int = 0
    last_error: LaneError | None = None
    #: When the lane last gave a job to a worker, to the second; None: not within a day.
    last_call_at: datetime | None = None
    #: Whether a running worker has the account; None: unknown.
    served: bool | None = None

    @property
    def lane(self) -> Lane:
        """The lane."""
        return Lane(self.account, self.operation)

    @property
    def failing(self) -> bool:
        """Whether the lane makes one call at a time, because the last calls met transient faults."""
        return self.faults >= FAILING

    @computed_field  # type: ignore[prop-decorator]
    @property
    def oldest_waiting(self) -> timedelta | None:
        """How long the oldest waiting job has waited."""
        return None if self.oldest_waiting_at is None else max(timedelta(0), self.at - self.oldest_waiting_at)

    @property
    def backlog(self) -> int:
        """All jobs of the lane that have not ended."""
        return self.waiting + self.in_flight + self.deferred

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state(self) -> LaneState:
        """What the lane does."""
        applies = {
            LaneState.PAUSED: self.paused is not None,
            LaneState.HELD: self.held is not None,
            LaneState.NO_WORKER: self.served is False and self.backlog > 0,
            LaneState.FAILING: self.failing,
            LaneState.RESTING: bool(self.rest),
            LaneState.RUNNING: bool(self.waiting or self.in_flight),
        }
        return next((state for state, is_so in applies.items() if is_so), LaneState.IDLE)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state_text(self) -> str:
        """The state in words, with what a person wants to know next: ``resting 24 s: Throttling.User``."""
        head, detail = self.state.value.replace("_", " "), ""
        code = self.last_error.code if self.last_error else ""
        match self.state:
            case LaneState.PAUSED if self.paused is not None:
                until = "" if self.paused.until is None else f" until {self._moment_text(self.paused.until)}"
                head, detail = f"{head} by {self.paused.by}{until}", self.paused.reason
            case LaneState.HELD if self.held is not None:
                at = self.held.next_probe
                probe = "" if at is None else self._probe_text(max(timedelta(0), at - self.at))
                detail = ", ".join(filter(None, [self.held.code or "the key is refused", probe]))
            case LaneState.NO_WORKER:
                detail = "no running worker has this account"
            case LaneState.FAILING:
                detail = ", ".join(filter(None, [self._probe_text(self.rest), code]))
            case LaneState.RESTING:
                head, detail = f"{head} {duration_text(self.rest)}", code
            case LaneState.IDLE if self.deferred and self.next_deferred is not None:
                detail = f"a deferred job is due in {duration_text(self.next_deferred)}"
        return f"{head}: {detail}" if detail else head

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_left(self) -> float | None:
        """The expected seconds until every job of the lane has ended; None: unknown, as in a lane that is paused."""
        if not self.backlog:
            return 0.0
        if not self.pace or self.state in NO_ESTIMATE:
            return None
        return self.rest.total_seconds() + self.backlog / self.pace

    def _moment_text(self, moment: datetime) -> str:
        return f"{moment:{'%H:%M' if moment - self.at < _DAY else '%Y-%m-%d %H:%M'}} UTC"

    def _probe_text(self, until: timedelta) -> str:
        if until:
            return f"probe in {duration_text(until)}"
        return "probe under way" if self.in_flight else "probe due"
