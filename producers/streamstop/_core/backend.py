"""Backend: what a client and its handles ask of the queue. Redis answers in production, memory in a service's tests.

The client above validates and words the consequences of an error; a backend stores, reads and waits.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LaneView
from streamstop._core.letters import DeadLetter, Matching
from streamstop._core.progress import Progress, RoomView
from streamstop.outcomes import Deferral, Outcome

_T = TypeVar("_T")


@dataclass(frozen=True)
class Pause:
    """What a wait yields while there is nothing: it goes on when `news` is done, or after `seconds`."""

    news: Future[None]
    seconds: float


def blocking(steps: Iterator[_T | Pause]) -> Iterator[_T]:
    """Yield what `steps` yields, and wait in this thread where it pauses."""
    for step in steps:
        if isinstance(step, Pause):
            wait_for_futures([step.news], step.seconds)
        else:
            yield step


class DeadLetterBackend(Protocol):
    """The dead letters of a queue; see :class:`~streamstop.dead_letters.DeadLetters`."""

    def count(self) -> int:
        """Return how many letters there are."""

    def letters(self, matching: Matching) -> Iterator[DeadLetter]:
        """Yield the letters that fit, oldest first."""

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""

    def requeue(self, letter_id: str) -> str:
        """Enqueue the command of a letter again; return the new job's id."""

    def drop(self, letter_id: str) -> None:
        """Forget a letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""


class Backend(Protocol):
    """A queue. Its methods are called within :meth:`reaching` or :meth:`following`."""

    @property
    def timeout(self) -> timedelta:
        """How long one call may wait for the queue."""

    @property
    def dead(self) -> DeadLetterBackend:
        """The dead letters."""

    def close(self) -> None:
        """Close what is open; the next use opens again."""

    def reaching(self, consequence: str, *, commands: int = 0) -> AbstractContextManager[None]:
        """Turn errors of the queue into :class:`~streamstop.errors.QueueUnavailable`, within the timeout.

        `commands` is how many the call brings: each adds a little time.
        """

    def following(self, consequence: str) -> AbstractContextManager[None]:
        """Turn errors of the queue into :class:`~streamstop.errors.QueueUnavailable`, for a call that may wait."""

    def now(self) -> datetime:
        """Return the moment by the queue's clock."""

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts of running workers: names to vendors."""

    def vendor_of(self, account: str) -> str | None:
        """Return the vendor of `account`, or None where no worker has published any.

        Raises :class:`~streamstop.errors.UnknownAccount` where workers have published others alone.
        """

    def lanes(self, lanes: Sequence[Lane] | None) -> list[LaneView]:
        """Return what `lanes` hold; None: what each lane holds that is not empty."""

    def enqueue(self, jobs: Sequence[tuple[str, Command]], *, now: datetime, perhaps: str) -> None:
        """Put jobs, by their ids, into their lanes: all, or none.

        `perhaps` is the consequence where the queue does not say whether it has accepted them.
        """

    def record(self, job_id: str) -> Outcome | Deferral | None:
        """Return how a job ended, or why it waits to be called again, or None."""

    def outcomes(self, job_ids: Sequence[str], timeout: timedelta | None) -> Iterator[Outcome | Pause]:
        """Yield how jobs end, as they end, until all have or `timeout` is over."""

    def cancel(self, lane: Lane, outcome: Outcome) -> str:
        """Record `outcome` for a job that no worker has claimed: ``cancelled``, or why not: ``claimed``, ``ended``."""

    def register(self, room: str, commands: Sequence[Command], *, now: datetime, again: str) -> str | None:
        """Note stream tasks; return the id of the shutdown that they joined, None in an open room.

        `again` is what to do where replicas did not confirm in time.
        """

    def unregister(self, room: str, commands: Sequence[Command]) -> int:
        """Take stream tasks out of a room; return how many were in."""

    def room(self, room: str) -> RoomView:
        """Return a room as it is now."""

    def stop_room(
        self,
        room: str,
        commands: Sequence[Command],
        *,
        now: datetime,
        verify: bool,
        callback: Mapping[str, Any] | None,
        again: str,
    ) -> str:
        """Open the room's shutdown, or join the open one; return its id. `again` as in :meth:`register`."""

    def reopen_room(self, room: str) -> bool:
        """End the time in which registering stops at once; False where the shutdown is open."""

    def progress(self, shutdown: str) -> Progress | None:
        """Return how far a shutdown is; None where there is none by that id."""

    def changes(self, shutdown: str, timeout: timedelta | None) -> Iterator[Pause | None]:
        """Yield now, and whenever a shutdown has changed, until `timeout` is over."""

    def outcomes_of(self, shutdown: str) -> Iterator[Outcome]:
        """Yield how the stream tasks of a shutdown ended."""

    def cancel_shutdown(self, shutdown: str) -> bool:
        """Take back what no worker has claimed; False where the shutdown is not open."""
