"""Backend: the interface of the queue for a client and its handles.

In production Redis implements it, in a service's tests a queue in memory. The client validates input and words the
consequences of errors. A backend stores, reads and waits.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar, cast

from streamstop._core.commands import Command
from streamstop._core.controls import ControlBackend
from streamstop._core.findings import ServerFacts
from streamstop._core.journal import ErrorCount, Event, EventKind
from streamstop._core.lane import Lane
from streamstop._core.lane_backend import LaneBackend
from streamstop._core.letters import DeadLetter, Matching, Position
from streamstop._core.progress import OutcomePage, Progress, RoomPage, RoomView
from streamstop._core.requests import Request
from streamstop._core.sightings import JobView, Sighting, Wanted
from streamstop._core.workers import WorkerView
from streamstop.outcomes import Deferral, Outcome, Result

_T = TypeVar("_T")


@dataclass(frozen=True)
class WaitInterval:
    """What a wait yields while there is nothing: it goes on when `news` is done, or after `seconds`."""

    news: Future[None]
    seconds: float


def blocking(steps: Iterator[_T | WaitInterval]) -> Iterator[_T]:
    """Yield what `steps` yields, and wait in this thread where it pauses.

    `steps` are closed as soon as this ends. An exception such as Ctrl-C can keep them alive until the interpreter ends,
    and what they hold can no longer be let go of then.
    """
    with closing(cast("Generator[object, None, None]", steps)):
        for step in steps:
            if isinstance(step, WaitInterval):
                wait_for_futures([step.news], step.seconds)
            else:
                yield step


class DeadLetterBackend(Protocol):
    """The dead letters of a queue; see :class:`~streamstop.dead_letters.DeadLetters`."""

    def count(self) -> int:
        """Return how many letters there are."""

    def count_by_result(self) -> Mapping[Result | None, int]:
        """Return how many letters there are of each result; None: of messages that could not be read."""

    def pages(self, matching: Matching, after: Position | None = None) -> Iterator[Iterable[DeadLetter]]:
        """Yield the letters that match, oldest first, from the one behind `after` on; in pages, one for each read."""

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""

    def requeue(self, letter_id: str) -> str:
        """Enqueue the command of a letter again; return the new job's id."""

    def drop(self, letter_id: str) -> None:
        """Delete a letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""


class FleetBackend(Protocol):
    """The workers of a queue."""

    def workers(self) -> list[WorkerView]:
        """Return every worker that is alive, or was lost within the last hour, sorted by name."""

    def server_info(self) -> Mapping[str, Any]:
        """Return what INFO says; nothing if the user may not ask."""

    def server_facts(self) -> ServerFacts:
        """Return everything that the server of the queue says about itself."""


class JournalBackend(Protocol):
    """The events, and the counts of vendors' errors."""

    def add(
        self,
        kind: EventKind,
        text: str,
        *,
        account: str | None = None,
        operation: str | None = None,
        by: str | None = None,
    ) -> None:
        """Add an event."""

    def events(self, *, since: timedelta | None = None, after: str | None = None) -> Iterator[Event]:
        """Yield the events that are younger than `since` and later than the event `after`, oldest first."""

    def newest(self) -> str:
        """Return the id of the newest event; before the first, an id that is older than any."""

    def errors(self, *, since: timedelta) -> list[ErrorCount]:
        """Return the error counts of the last `since`, rounded up to five minutes, the most first."""


class Backend(Protocol):
    """A queue. Call its methods within :meth:`reaching` or :meth:`following`."""

    @property
    def timeout(self) -> timedelta:
        """How long one call may wait for the queue."""

    @property
    def dead(self) -> DeadLetterBackend:
        """The dead letters."""

    @property
    def lanes(self) -> LaneBackend:
        """The lanes."""

    @property
    def controls(self) -> ControlBackend:
        """Pauses, limits and holds."""

    @property
    def fleet(self) -> FleetBackend:
        """The workers."""

    @property
    def journal(self) -> JournalBackend:
        """The events, and the counts of vendors' errors."""

    def close(self) -> None:
        """Close the connections. The next use opens new ones."""

    def reaching(self, consequence: str, *, commands: int = 0) -> AbstractContextManager[None]:
        """Limit the block to the timeout, and turn errors into :class:`~streamstop.errors.QueueUnavailable`.

        `commands` is how many commands the call enqueues. Each of them extends the timeout a little.
        """

    def following(self, consequence: str) -> AbstractContextManager[None]:
        """Turn errors into :class:`~streamstop.errors.QueueUnavailable`, without a limit on the whole block."""

    def now(self) -> datetime:
        """Return the current time by the queue's clock."""

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts of running workers: names to vendors."""

    def vendor_of(self, account: str) -> str | None:
        """Return the vendor of `account`; None if no worker has published any account.

        Raises :class:`~streamstop.errors.UnknownAccount` if workers have published accounts, but not this one.
        """

    def enqueue(self, jobs: Sequence[tuple[str, Command]], *, now: datetime, perhaps: str) -> None:
        """Put jobs into their lanes: all of them, or none. Each is an id and its command.

        `perhaps` is the consequence to report if the queue does not say whether it has accepted them.
        """

    def enqueue_once(
        self,
        jobs: Sequence[tuple[str, Command]],
        *,
        unique: bool,
        request: Request | None,
        now: datetime,
        perhaps: str,
    ) -> list[str]:
        """Put jobs into their lanes: all of them, or none; return the id of each command's job.

        With `unique`, a command with an open job gets no other. If `request` was accepted before, its jobs are
        returned. `perhaps` as in :meth:`enqueue`.

        Raises :class:`~streamstop.errors.IdempotencyConflict` and :class:`~streamstop.errors.RequestUnderWay`.
        """

    def look(self, job_id: str) -> JobView | None:
        """Return a job that has a record or a dead letter, or waits, is deferred or in flight; None: there is none."""

    def exists(self, job_id: str) -> bool:
        """Return whether a job with this id has a record, or waits, is deferred or in flight."""

    def find(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield the jobs of a stream task, each once, and its registrations in rooms."""

    def record(self, job_id: str) -> Outcome | Deferral | None:
        """Return a job's outcome, or why it waits for another call, or None."""

    def outcomes(self, job_ids: Sequence[str], timeout: timedelta | None) -> Iterator[Outcome | WaitInterval]:
        """Yield the outcomes of jobs as they end, until all have ended or `timeout` is over."""

    def cancel(self, lane: Lane, outcome: Outcome) -> str:
        """Record `outcome` for a job that no worker has claimed; return ``cancelled``, ``claimed`` or ``ended``."""

    def register(self, room: str, commands: Sequence[Command], *, now: datetime, again: str) -> str | None:
        """Register stream tasks; return the id of the shutdown that they joined, None in an open room.

        `again` tells the caller what to do if replicas do not confirm in time.
        """

    def unregister(self, room: str, commands: Sequence[Command]) -> int:
        """Remove stream tasks from a room; return how many were registered."""

    def room(self, room: str) -> RoomView:
        """Return the current state of a room."""

    def room_page(self, room: str, cursor: str | None, most: int) -> RoomPage:
        """Return a page of about `most` registered stream tasks; `cursor` is that of the page before, None: first."""

    def room_accounts(self, room: str) -> frozenset[str]:
        """Return the accounts of a room's registered stream tasks."""

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
        """Let the room be used again after its shutdown; return False if the shutdown is still open."""

    def progress(self, shutdown: str) -> Progress | None:
        """Return the progress of a shutdown; None if no shutdown has this id."""

    def changes(self, shutdown: str, timeout: timedelta | None) -> Iterator[WaitInterval | None]:
        """Yield at once, and after each change of a shutdown, until `timeout` is over."""

    def new_events(self, timeout: timedelta | None) -> Iterator[WaitInterval | None]:
        """Yield at once, and after new events, until `timeout` is over."""

    def outcomes_of(self, shutdown: str) -> Iterator[Outcome]:
        """Yield the outcomes of a shutdown's stream tasks."""

    def accounts_of(self, shutdown: str) -> frozenset[str]:
        """Return the accounts of a shutdown's stream tasks, and of those that are registered while it is open."""

    def outcome_page(self, shutdown: str, cursor: str | None, most: int, *, attention: bool) -> OutcomePage:
        """Return a page of about `most` outcomes; with `attention`, of those that need a person.

        `cursor` as in :meth:`room_page`.
        """

    def recent_shutdowns(self, most: int) -> Sequence[str]:
        """Return the ids of shutdowns: the open ones, oldest first, and then the latest ended ones, newest first."""

    def count_open_shutdowns(self) -> int:
        """Return how many shutdowns are open."""

    def cancel_shutdown(self, shutdown: str) -> bool:
        """Cancel the jobs that no worker has claimed; return False if the shutdown is not open."""
