"""The stream tasks at the simulated vendors: a task is what its account, family and identifying parameters say.

A family is the set of operations that speak of the same kind of task; it is named by the operation that tells its
status, or by the stop where no operation tells it. Times come from the clock that the registry is given; a task that
ends by itself needs no timer, it is over as soon as somebody looks.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamstop.operations import Operation, find
from streamstop_simulator.clock import Clock

_LISTED = {
    "live.DescribeLivePullToPushList": "live.DescribeLivePullToPush",
    "live.ListEdgeTranscodeJob": "live.GetEdgeTranscodeJob",
    "live.ListRtcMPUTaskDetail": "live.GetMPUTaskStatus",
}


def family_of(operation: type[Operation]) -> str:
    """Return the family of the tasks that `operation` speaks of."""
    spec = operation.spec
    return _LISTED.get(spec.id) or spec.status_twin or spec.id


@functools.cache
def identifying(family: str) -> tuple[str, ...]:
    """Return the names of the parameters that identify a task of `family`."""
    return tuple(str(f.alias) for f in find(family).model_fields.values() if f.is_required())


class TaskState(StrEnum):
    """Whether a task bills."""

    RUNNING = "running"
    STOPPED = "stopped"
    """A stop ended it."""
    ENDED = "ended"
    """It ended by itself."""


class Phase(StrEnum):
    """What a task that is not over does."""

    WAITING = "waiting"
    RUNNING = "running"
    ABNORMAL = "abnormal"


class TaskStart(BaseModel):
    """A task that is to run: what ``POST /_control/tasks`` takes, one or a list.

    Raises :class:`ValueError` for an unknown operation, and for a missing parameter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str
    #: Any operation of the task's family: ``live.StopMPUTask``.
    operation: str
    #: At least the identifying parameters; more are kept, and shown by listings (``TaskName``).
    params: dict[str, str | int]
    #: Milliseconds after which the task ends by itself.
    ends_after_ms: float | None = Field(default=None, ge=0)
    #: Acknowledges every stop, and runs on.
    ignores_stops: bool = False
    #: What the status operations tell while it is not over.
    phase: Phase = Phase.RUNNING

    @model_validator(mode="after")
    def _identified(self) -> "TaskStart":
        missing = [name for name in identifying(self.family) if name not in self.params]
        if missing:
            raise ValueError(f"a task of {self.operation} is identified by {', '.join(missing)} too")
        return self

    @property
    def family(self) -> str:
        """The family of the task."""
        return family_of(find(self.operation))


@dataclass
class Task:
    """A stream task. Its times are seconds of the monotonic clock."""

    account: str
    family: str
    params: Mapping[str, str | int]
    #: Seconds since the epoch.
    started_at: float
    ends_at: float | None = None
    stopped_at: float | None = None
    #: The operation that stopped it.
    stopped_by: str | None = None
    #: Stops that were acknowledged.
    stops: int = 0
    ignores_stops: bool = False
    phase: Phase = Phase.RUNNING

    def state(self, now: float) -> TaskState:
        """Return the state at `now`, by the monotonic clock."""
        if self.stopped_at is not None:
            return TaskState.STOPPED
        return TaskState.ENDED if self.ends_at is not None and now >= self.ends_at else TaskState.RUNNING

    def stop(self, operation: str, now: float) -> None:
        """Acknowledge a stop."""
        self.stops += 1
        if not self.ignores_stops:
            self.stopped_at, self.stopped_by = now, operation

    def to_json(self, now: float) -> dict[str, Any]:
        """Return what ``GET /_control/tasks`` shows."""
        return {
            "account": self.account,
            "family": self.family,
            "params": dict(self.params),
            "state": self.state(now),
            "phase": self.phase,
            "started_at": self.started_at,
            "stopped_by": self.stopped_by,
            "stops": self.stops,
            "ignores_stops": self.ignores_stops,
        }


class Tasks:
    """Every task, running or over, until it is reset."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[tuple[str, str], dict[tuple[str, ...], Task]] = {}

    def __iter__(self) -> Iterator[Task]:
        for tasks in self._tasks.values():
            yield from tasks.values()

    def start(self, wanted: TaskStart) -> Task:
        """Start a task; one with the same identity is replaced, as a vendor's id may be used again."""
        family = wanted.family
        now = self._clock.monotonic()
        task = Task(
            wanted.account,
            family,
            wanted.params,
            started_at=self._clock.epoch(),
            ends_at=None if wanted.ends_after_ms is None else now + wanted.ends_after_ms / 1000,
            ignores_stops=wanted.ignores_stops,
            phase=wanted.phase,
        )
        self._tasks.setdefault((wanted.account, family), {})[self._identity(family, wanted.params)] = task
        return task

    def find(self, account: str, family: str, params: Mapping[str, Any]) -> Task | None:
        """Return the task that `params` identify, running or over."""
        return self._tasks.get((account, family), {}).get(self._identity(family, params))

    def of(self, account: str, family: str) -> list[Task]:
        """Return an account's tasks of one family, in the order of their first start."""
        return list(self._tasks.get((account, family), {}).values())

    def reset(self) -> None:
        """Forget every task."""
        self._tasks.clear()

    @staticmethod
    def _identity(family: str, params: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(params[name]) for name in identifying(family))
