"""Sightings: where the jobs of a stream task are, and where the task is registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from streamstop import operations
from streamstop._core.answers import CallAnswer
from streamstop._core.commands import check_account
from streamstop._core.lane import Lane
from streamstop.errors import InvalidCommand, quoted
from streamstop.operations import OPERATIONS
from streamstop.outcomes import Outcome, Result

#: The parameters that name a stream task: ``JobId`` and ``TaskId``.
_TASK_NAMES = tuple(sorted({declared.spec.task for declared in OPERATIONS.values()}))


class Where(StrEnum):
    """Where a job, or a registered stream task, is."""

    WAITING = "waiting"
    """The job waits in its lane."""
    DEFERRED = "deferred"
    """The job waits to be called again."""
    IN_FLIGHT = "in_flight"
    """A worker has the job."""
    ENDED = "ended"
    """The job has its outcome."""
    DEAD = "dead"
    """The job is a dead letter."""
    REGISTERED = "registered"
    """The stream task is registered in a room."""


class Sighting(BaseModel):
    """A job of a stream task, or its registration in a room."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    where: Where
    account: str
    operation: str
    #: The operation's parameters under the vendor's names.
    params: dict[str, Any]
    #: None for a registration.
    job_id: str | None = None
    #: How the job ended.
    result: Result | None = None
    #: When the job was enqueued (waiting), is called again (deferred), or ended, by Redis' clock.
    at: datetime | None = None
    #: For a job that waits: how many jobs go before it, and itself; None while its batch is being enqueued.
    place: int | None = None
    #: The room in which the task is registered, or of the dead letter's shutdown.
    room: str | None = None
    #: The shutdown that the job is part of.
    shutdown: str | None = None


class JobView(BaseModel):
    """A job as Redis knows it. What Redis does not know, or knows no longer, is None."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    where: Where
    account: str
    operation: str
    #: The operation's parameters under the vendor's names.
    params: dict[str, Any] | None = None
    enqueued_at: datetime | None = None
    #: The command is not sent after this moment.
    expires_at: datetime | None = None
    #: While it waits: how many jobs go before it, and itself; None while its batch is being enqueued.
    place: int | None = None
    #: While it is deferred: when it is called again, and why it waits.
    due: datetime | None = None
    reason: str | None = None
    #: Calls that count as attempts, and calls that were sent.
    attempts: int = 0
    calls: int = 0
    #: The id of the trace in which the job was enqueued.
    trace_id: str | None = None
    #: The room and the id of the shutdown that the job is part of.
    room: str | None = None
    shutdown: str | None = None
    #: The answers to its calls, the oldest first: those that Redis knows. The last is that of the outcome.
    answers: tuple[CallAnswer, ...] = ()
    #: How it ended.
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Wanted:
    """What a search looks for. The parameters are compared as text."""

    params: Mapping[str, str]
    account: str | None = None
    operation: str | None = None
    #: The id of the stream task, whichever parameter it is; None: it is among the parameters.
    task: str | None = None

    @classmethod
    def checked(cls, params: object, account: object, operation: object) -> "Wanted":
        """Return what to look for. Raises :class:`~streamstop.errors.InvalidCommand`, which names the field."""
        task = params if isinstance(params, str) and params else None
        if task is not None:
            params = {}
        elif not isinstance(params, Mapping) or not any(name in params for name in _TASK_NAMES):
            raise InvalidCommand(f"params must name a stream task, by {' or '.join(_TASK_NAMES)}", field="params")
        for name, value in params.items():
            if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                raise InvalidCommand(
                    f"parameter {quoted(name)} must have a text or a number, not {quoted(value)}", field=str(name)
                )
        if account is not None:
            account = check_account(account)
        if operation is not None:
            operation = operations.find(str(operation)).spec.id
        return cls({name: str(value) for name, value in params.items()}, account, operation, task)

    @property
    def task_id(self) -> str:
        """The id of the stream task."""
        if self.task is not None:
            return self.task
        return next(self.params[name] for name in reversed(_TASK_NAMES) if name in self.params)

    def fits_lane(self, lane: Lane) -> bool:
        """Whether jobs of the lane are looked for."""
        return self.account in {None, lane.account} and self.operation in {None, lane.operation}

    def fits(self, lane: Lane, params: object) -> bool:
        """Whether a job of the lane with these parameters is looked for."""
        return (
            self.fits_lane(lane)
            and isinstance(params, Mapping)
            and all(name in params and str(params[name]) == value for name, value in self.params.items())
            and (self.task is None or any(str(params.get(name, "")) == self.task for name in _TASK_NAMES))
        )
