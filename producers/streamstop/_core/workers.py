"""Workers: what a worker tells about itself, and what it means for people on call."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from streamstop._core.durations import duration_text

#: How often a worker shows a sign of life.
BEAT = timedelta(seconds=5)
#: A worker that has been silent for so long is lost. So long may a part of it not answer, too.
PATIENCE = timedelta(seconds=30)


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    """It has not looked for jobs yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    """It takes no more jobs, and waits for the calls under way."""
    STUCK = "stuck"
    """It shows signs of life, and a part of it hangs."""
    LOST = "lost"
    """It has shown no sign of life for half a minute, and has not said that it stops."""


class LimitDifference(BaseModel):
    """A lane for which workers have different limits."""

    model_config = ConfigDict(frozen=True)

    account: str
    operation: str
    #: Name of a worker -> its limit in calls per second.
    limits: Mapping[str, float]

    @property
    def text(self) -> str:
        """For people: ``live-cn live.StopMPUTask: 8 in w1@h, 10 in w2@h``."""
        limits = ", ".join(f"{limit:g} in {name}" for name, limit in sorted(self.limits.items()))
        return f"{self.account} {self.operation}: {limits}"


class SignOfLife(BaseModel):
    """What a worker writes every five seconds. Durations are in seconds, before the moment of writing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Celery's node name.
    name: str
    host: str
    pid: int
    version: str
    #: The digest of its book: its accounts and the paces of their lanes.
    book: str
    #: How many jobs may be under way at once, and how many are.
    slots: int
    busy: int
    #: Whether it takes no more jobs.
    stopping: bool
    #: How long it has been running.
    up: float
    #: How long ago it looked for jobs; None: never.
    looked: float | None
    #: Part of the worker -> how long ago the part answered.
    answered: Mapping[str, float]
    #: The moment by its machine's clock, in seconds since the epoch.
    clock: float


class Written(SignOfLife):
    """A sign of life as Redis keeps it."""

    #: The moment of writing by Redis' clock, in µs since the epoch.
    seen_us: int


class WorkerView(BaseModel):
    """A worker, as people on call see it."""

    model_config = ConfigDict(frozen=True)

    #: Celery's node name.
    name: str
    host: str
    pid: int
    version: str
    state: WorkerState
    #: Why it is stuck or lost; None if it is neither.
    problem: str | None = None
    #: The names of its accounts, sorted.
    accounts: tuple[str, ...] = ()
    #: How many jobs may be under way at once, and how many are.
    slots: int
    busy: int
    #: When it started, by Redis' clock.
    since: datetime
    #: Its last sign of life, by Redis' clock.
    seen: datetime
    #: How many seconds ago that was.
    silent: float
    #: How many seconds its machine's clock is ahead of Redis' clock.
    clock_ahead: float = 0.0
    #: The lanes for which another worker has a different limit.
    differences: tuple[LimitDifference, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether it takes jobs, or ends the calls under way before it stops."""
        return self.state in {WorkerState.RUNNING, WorkerState.STOPPING}


def distinct_differences(workers: Iterable[WorkerView]) -> list[LimitDifference]:
    """Return the lanes for which the workers have different limits, each once."""
    found = {(each.account, each.operation): each for worker in workers for each in worker.differences}
    return [found[lane] for lane in sorted(found)]


def judge(sign: SignOfLife, silent: timedelta) -> tuple[WorkerState, str | None]:
    """Return the state of a worker that wrote `sign` so long ago, and the problem if it is stuck or lost."""
    patience_s = PATIENCE.total_seconds()
    hanging = next(((part, age) for part, age in sign.answered.items() if age >= patience_s), None)
    state, problem = WorkerState.RUNNING, None
    if silent >= PATIENCE:
        state, problem = WorkerState.LOST, f"no sign of life for {duration_text(silent.total_seconds())}"
    elif hanging is not None:
        state, problem = WorkerState.STUCK, f"{hanging[0]} has not answered for {duration_text(hanging[1])}"
    elif sign.stopping:
        state = WorkerState.STOPPING
    elif sign.looked is None and sign.up < patience_s:
        state = WorkerState.STARTING
    elif sign.looked is None:
        up = duration_text(sign.up)
        state, problem = WorkerState.STUCK, f"it has not looked for jobs since its start {up} ago"
    elif sign.looked >= patience_s and sign.busy < sign.slots:  # without a free slot it does not look
        state, problem = WorkerState.STUCK, f"it has not looked for jobs for {duration_text(sign.looked)}"
    return state, problem
