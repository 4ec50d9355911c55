"""Drained: how many jobs a drain has cancelled, and which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from streamstop._core.lane import Lane

#: How many examples are kept.
MOST_EXAMPLES = 5


@dataclass(frozen=True)
class DrainFilter:
    """Which jobs of a lane are drained."""

    #: Only those that were enqueued before; None: all.
    before: datetime | None
    #: Only those of the room's shutdowns; None: all.
    room: str | None
    #: Who drains.
    by: str
    #: Whether nothing is changed.
    dry_run: bool


class DrainedJob(BaseModel):
    """A job that was, or would be, cancelled."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: str
    operation: str
    #: Its parameters, as its message has them.
    params: Mapping[str, Any] | None = None
    enqueued_at: datetime | None = None


@dataclass(frozen=True)
class DrainPage:
    """What one step of a drain has cancelled in one lane."""

    lane: Lane
    waiting: int
    deferred: int
    examples: Sequence[DrainedJob]


class Drained(BaseModel):
    """What a drain has cancelled so far; in a dry run: what it would cancel."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    #: The only operation that is drained; None: all of the account.
    operation: str | None = None
    dry_run: bool = False
    #: Jobs that waited, and deferred jobs.
    waiting: int = 0
    deferred: int = 0
    #: How many of them there were of each operation.
    operations: Mapping[str, int] = {}
    #: The first of them.
    examples: Sequence[DrainedJob] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def jobs(self) -> int:
        """All of them."""
        return self.waiting + self.deferred

    def plus(self, page: DrainPage) -> "Drained":
        """Return the sum with one more page."""
        operations = dict(self.operations)
        if count := page.waiting + page.deferred:
            operations[page.lane.operation] = operations.get(page.lane.operation, 0) + count
        return self.model_copy(
            update={
                "waiting": self.waiting + page.waiting,
                "deferred": self.deferred + page.deferred,
                "operations": operations,
                "examples": [*self.examples, *page.examples][:MOST_EXAMPLES],
            }
        )
