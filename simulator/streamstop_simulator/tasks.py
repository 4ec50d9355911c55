"""The stream tasks at the simulated vendors. Account, family and identifying parameters identify a task.

A family is the set of operations on one kind of task. Its name is its status operation, or its stop if there is no
status operation. A task that ends by itself has no timer: its state is computed from the clock when it is read.
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
    """Return the family that `operation` belongs to."""
    spec = operation.spec
    return _LISTED.get(spec.id) or spec.status_twin or spec.id


@functools.cache
def identifying(family: str) -> tuple[str, ...]:
    """Return the names of the parameters that identify a task of `family`."""
    return tuple(str(f.alias) for f in find(family).model_fields.values() if f.is_required())


class TaskState(StrEnum):
    """Whether a task runs. Only a running task is billed."""

    RUNNING = "running"
    STOPPED = "stopped"
    """A stop ended it."""
    ENDED = "ended"
    """It ended by itself."""


class Phase(StrEnum):
    """The phase of a task that has not ended."""

    WAITING = "waiting"
    RUNNING = "running"
    ABNORMAL = "abnormal"


class TaskStart(BaseModel):
    """A task to start: the input of ``POST /_control/tasks``, one or a list.

    Raises :class:`ValueError` for an unknown operation or a missing parameter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str
    #: Any operation of the task's family: ``live.StopMPUTask``.
    operation: str
    #: At least the identifying parameters. Listings show others too (``TaskName``).
    params: dict[str, str | int]
    #: Milliseconds after which the task ends by itself.
    ends_after_ms: float | None = Field(default=None, ge=0)
    #: Whether the task acknowledges stops but continues to run.
    ignores_stops: bool = False
    #: The phase that status operations return until the task ends.
    phase: Phase = Phase.RUNNING

    @model_validator(mode="after")
    def _identified(self) -> "TaskStart":
        missing = [name for name in identifying(self.family) if name not in self.params]
        if missing:
            raise ValueError(f"the task has no {', '.join(missing)}, which {self.operation} requires")
        return self

    @property
    def family(self) -> str:
        """The family of the task."""
        return family_of(find(self.operation))


@dataclass
class Task:
    """A stream task. Times are in seconds of the monotonic clock, unless noted."""

    account: str
    family: str
    params: Mapping[str, str | int]
    #: Seconds since the epoch.
    started_at: float
    ends_at: float | None = None
    stopped_at: float | None = None
    #: The operation that stopped it.
    stopped_by: str | None = None
    #: How many stops were acknowledged.
    stops: int = 0
    ignores_stops: bool = False
    phase: Phase = Phase.RUNNING

    def state(self, now: float) -> TaskState:
        """Return the state at `now`."""
        if self.stopped_at is not None:
            return TaskState.STOPPED
        return TaskState.ENDED if self.ends_at is not None and now >= self.ends_at else TaskState.RUNNING

    def stop(self, operation: str, now: float) -> None:
        """Acknowledge a stop, and end the task unless it ignores stops."""
        self.stops += 1
        if not self.ignores_stops:
            self.stopped_at, self.stopped_by = now, operation

    def to_json(self, now: float) -> dict[str, Any]:
        """Return the JSON of ``GET /_control/tasks``."""
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
    """All tasks, running or ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[tuple[str, str], dict[tuple[str, ...], Task]] = {}

    def __iter__(self) -> Iterator[Task]:
        for tasks in self._tasks.values():
            yield from tasks.values()

    def start(self, start: TaskStart) -> Task:
        """Start a task. It replaces a task with the same identity: vendors allow an id to be used again."""
        family = start.family
        now = self._clock.monotonic()
        task = Task(
            start.account,
            family,
            start.params,
            started_at=self._clock.epoch(),
            ends_at=None if start.ends_after_ms is None else now + start.ends_after_ms / 1000,
            ignores_stops=start.ignores_stops,
            phase=start.phase,
        )
        self._tasks.setdefault((start.account, family), {})[self._identity(family, start.params)] = task
        return task

    def find(self, account: str, family: str, params: Mapping[str, Any]) -> Task | None:
        """Return the task that `params` identify, running or ended."""
        return self._tasks.get((account, family), {}).get(self._identity(family, params))

    def of(self, account: str, family: str) -> list[Task]:
        """Return an account's tasks of one family, in the order in which they were first started."""
        return list(self._tasks.get((account, family), {}).values())

    def reset(self) -> None:
        """Delete every task."""
        self._tasks.clear()

    @staticmethod
    def _identity(family: str, params: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(params[name]) for name in identifying(family))
