"""Recorded queue: the queue in memory that a :class:`~streamstop.testing.RecordingClient` uses instead of Redis."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.letters import Matching
from streamstop._core.progress import OutcomePage, Progress, RoomPage, RoomView, ShutdownStatus
from streamstop._core.requests import Request
from streamstop._core.sightings import JobView, Sighting, Wanted
from streamstop._redis.accounts import vendor_among
from streamstop.errors import StreamstopError
from streamstop.outcomes import Outcome
from streamstop.testing.answers import Answer, as_verified, outcome_of
from streamstop.testing.controls import RecordedControls
from streamstop.testing.fleet import RecordedFleet
from streamstop.testing.journal import RecordedJournal
from streamstop.testing.lanes import OpenJob, RecordedLanes
from streamstop.testing.letters import RecordedDeadLetters
from streamstop.testing.once import RecordedOnce
from streamstop.testing.rooms import RecordedRooms, page_of
from streamstop.testing.sightings import find_recorded, look_at_recorded


class RecordedQueue:
    """See :class:`~streamstop._core.backend.Backend`. No call waits: every timeout is over at once."""

    timeout = timedelta(0)

    def __init__(self, accounts: Mapping[str, str], *, leave_open: bool) -> None:
        self.leave_open = leave_open
        self.enqueued: list[Command] = []
        self.error: StreamstopError | None = None
        self.rooms = RecordedRooms()
        self.dead = RecordedDeadLetters(self._requeue)
        self.controls = RecordedControls()
        self.lanes = RecordedLanes(self.open_jobs, self.end_cancelled, self.all_outcomes, self.controls.read)
        self.journal = RecordedJournal()
        self._accounts = dict(accounts)
        self.fleet = RecordedFleet(self._accounts)
        self._answers: list[Answer] = []
        self._commands: dict[str, tuple[Command, datetime]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._once = RecordedOnce(self._open_job, self._enqueue_one)
        self._lock = threading.RLock()

    def answer(self, answer: Answer) -> None:
        """Add an answer. It takes precedence over older ones."""
        with self._lock:
            self._answers.insert(0, answer)

    def end_jobs(self, job_ids: Iterable[str] | None = None) -> None:
        """End the open ones of these jobs; None: of all jobs."""
        with self._lock:
            for job_id in list(self._commands) if job_ids is None else job_ids:
                if job_id in self._commands and job_id not in self._outcomes:
                    command, enqueued_at = self._commands[job_id]
                    outcome = outcome_of(command, job_id, enqueued_at, self._answer_for(command))
                    self._outcomes[job_id] = outcome
                    self.dead.keep(outcome, command)
                    self.journal.count(outcome)

    def end_shutdowns(self) -> None:
        """End every open stream task of every shutdown."""
        with self._lock:
            for shutdown, member in list(self.rooms.open_members()):
                command = member.command
                outcome = outcome_of(command, member.job_id, shutdown.opened_at, self._answer_for(command))
                outcome = as_verified(outcome, command) if shutdown.verify else outcome
                self.rooms.record_outcome(shutdown, member, outcome)
                self.dead.keep(outcome, command, room=shutdown.room)
                self.journal.count(outcome)

    def close(self) -> None:
        """Do nothing. The client can be used again."""

    @contextmanager
    def reaching(self, consequence: str, *, commands: int = 0) -> Iterator[None]:  # noqa: ARG002
        """Raise the error that the test has set, if any."""
        if self.error is not None:
            raise self.error
        yield

    following = reaching

    def now(self) -> datetime:
        """Return the current time by this machine's clock."""
        return datetime.now(UTC)

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts that the test has set: names to vendors."""
        return dict(self._accounts)

    def vendor_of(self, account: str) -> str | None:
        """Return the vendor of `account`; None if the test has set no accounts."""
        return vendor_among(self._accounts, account)

    def open_jobs(self) -> list[OpenJob]:
        """Return the open jobs, those of shutdowns among them."""
        with self._lock:
            alone = [
                OpenJob(job_id, command, enqueued_at, None)
                for job_id, (command, enqueued_at) in self._commands.items()
                if job_id not in self._outcomes
            ]
            members = [
                OpenJob(member.job_id, member.command, opened.opened_at, opened.room)
                for opened, member in self.rooms.open_members()
            ]
        return alone + members

    def all_outcomes(self) -> list[Outcome]:
        """Return the outcomes of all jobs that have ended, those of shutdowns among them."""
        with self._lock:
            members = [member for opened in self.rooms.shutdowns.values() for member in opened.members]
            return [*self._outcomes.values(), *(member.outcome for member in members if member.outcome is not None)]

    def end_cancelled(self, outcome: Outcome) -> None:
        """Record the outcome of an open job that is cancelled."""
        with self._lock:
            if outcome.job_id in self._commands:
                self._outcomes.setdefault(outcome.job_id, outcome)
            for opened, member in list(self.rooms.open_members()):
                if member.job_id == outcome.job_id:
                    self.rooms.record_outcome(opened, member, outcome)

    def enqueue(self, jobs: Sequence[tuple[str, Command]], *, now: datetime, perhaps: str = "") -> None:  # noqa: ARG002
        """Record jobs, and end them at once unless they are left open."""
        with self._lock:
            for job_id, command in jobs:
                self.enqueued.append(command)
                self._commands[job_id] = (command, now)
        if not self.leave_open:
            self.end_jobs(job_id for job_id, _ in jobs)

    def enqueue_once(
        self,
        jobs: Sequence[tuple[str, Command]],
        *,
        unique: bool,
        request: Request | None,
        now: datetime,
        perhaps: str = "",  # noqa: ARG002
    ) -> list[str]:
        """Record jobs, except those of unique commands with open jobs, and those of a repeated request."""
        with self._lock:
            return self._once.enqueue(jobs, unique=unique, request=request, now=now)

    def look(self, job_id: str) -> JobView | None:
        """Return a job that was enqueued, or that stops a stream task of a shutdown."""
        with self._lock:
            dead = {letter.id for letter in self.dead.letters(Matching())}
            return look_at_recorded(job_id, self._commands, self._outcomes, dead, self.rooms)

    def exists(self, job_id: str) -> bool:
        """Return whether a job with this id was enqueued, or stops a stream task of a shutdown."""
        return job_id in self._outcomes or self.look(job_id) is not None

    def find(self, wanted: Wanted) -> Iterator[Sighting]:
        """Yield the jobs of a stream task, and its registrations in rooms."""
        with self._lock:
            dead = {letter.id for letter in self.dead.letters(Matching())}
            jobs = [(job_id, command) for job_id, (command, _) in self._commands.items()]
            return iter(list(find_recorded(wanted, jobs, self._outcomes, dead, self.rooms)))

    def record(self, job_id: str) -> Outcome | None:
        """Return a job's outcome, or None."""
        return self._outcomes.get(job_id)

    def outcomes(self, job_ids: Sequence[str], timeout: timedelta | None) -> Iterator[Outcome]:  # noqa: ARG002
        """Yield the outcomes of the jobs that have ended."""
        for job_id in dict.fromkeys(job_ids):
            if (outcome := self._outcomes.get(job_id)) is not None:
                yield outcome

    def cancel(self, lane: Lane, outcome: Outcome) -> str:  # noqa: ARG002
        """Cancel a job, unless it has ended."""
        with self._lock:
            ended = self._outcomes.setdefault(outcome.job_id, outcome)
        return "cancelled" if ended is outcome else "ended"

    def register(self, room: str, commands: Sequence[Command], *, now: datetime, again: str) -> str | None:  # noqa: ARG002
        """Register stream tasks; return the id of the shutdown that they joined, None in an open room."""
        with self._lock:
            joined = self.rooms.register(room, commands)
            self._end_unless_left_open()
        return joined

    def unregister(self, room: str, commands: Sequence[Command]) -> int:
        """Remove stream tasks from a room; return how many were registered."""
        with self._lock:
            return sum(self.rooms.unregister(room, command) for command in commands)

    def room(self, room: str) -> RoomView:
        """Return the current state of a room."""
        with self._lock:
            return self.rooms.view(room)

    def room_page(self, room: str, cursor: str | None, most: int) -> RoomPage:
        """Return a page of registered stream tasks."""
        view = self.room(room)
        return RoomPage(room, *page_of(view.tasks, cursor, most), total=len(view.tasks), shutdown=view.shutdown)

    def room_accounts(self, room: str) -> frozenset[str]:
        """Return the accounts of a room's registered stream tasks."""
        with self._lock:
            return self.rooms.accounts(room)

    def stop_room(
        self,
        room: str,
        commands: Sequence[Command],
        *,
        now: datetime,  # noqa: ARG002
        verify: bool,
        callback: Mapping[str, Any] | None,
        again: str,  # noqa: ARG002
    ) -> str:
        """Open the room's shutdown, or join the open one; return its id. The callback is never called."""
        with self._lock:
            opened = self.rooms.open(room, commands, verify=verify, callback=callback)
            self._end_unless_left_open()
        return opened

    def reopen_room(self, room: str) -> bool:
        """Let the room be used again after its shutdown; return False if the shutdown is still open."""
        with self._lock:
            return self.rooms.reopen(room)

    def progress(self, shutdown: str) -> Progress | None:
        """Return the progress of a shutdown."""
        with self._lock:
            recorded = self.rooms.shutdowns.get(shutdown)
            return None if recorded is None else recorded.progress(shutdown)

    def changes(self, shutdown: str, timeout: timedelta | None) -> Iterator[None]:  # noqa: ARG002
        """Yield once. The timeout is over then."""
        yield

    def new_events(self, timeout: timedelta | None) -> Iterator[None]:  # noqa: ARG002
        """Yield once. The timeout is over then."""
        yield

    def outcomes_of(self, shutdown: str) -> Iterator[Outcome]:
        """Yield the outcomes of the shutdown's stream tasks that have ended."""
        recorded = self.rooms.shutdowns.get(shutdown)
        return iter([] if recorded is None else recorded.outcomes)

    def accounts_of(self, shutdown: str) -> frozenset[str]:
        """Return the accounts of a shutdown's stream tasks, and of those that are registered while it is open."""
        with self._lock:
            return self.rooms.accounts_of(shutdown)

    def outcome_page(self, shutdown: str, cursor: str | None, most: int, *, attention: bool) -> OutcomePage:
        """Return a page of outcomes."""
        outcomes = (one for one in self.outcomes_of(shutdown) if not attention or one.result.needs_person)
        return OutcomePage(*page_of(tuple(outcomes), cursor, most))

    def recent_shutdowns(self, most: int) -> Sequence[str]:
        """Return the ids of shutdowns: the open ones, and then the ended ones, the latest first."""
        with self._lock:
            return self.rooms.recent(most)

    def count_open_shutdowns(self) -> int:
        """Return how many shutdowns are open."""
        with self._lock:
            return sum(one.status is ShutdownStatus.OPEN for one in self.rooms.shutdowns.values())

    def cancel_shutdown(self, shutdown: str) -> bool:
        """Cancel the open stream tasks, which stay registered; return False if the shutdown is not open."""
        with self._lock:
            return self.rooms.cancel(shutdown)

    def _requeue(self, command: Command) -> str:
        """Enqueue the command of a dead letter as a new job; return its id."""
        job_id = command.lane.new_job_id()
        self._enqueue_one(job_id, command, self.now())
        return job_id

    def _enqueue_one(self, job_id: str, command: Command, now: datetime) -> None:
        self.enqueue([(job_id, command)], now=now)

    def _open_job(self, job_id: str) -> tuple[Command, datetime] | None:
        return None if job_id in self._outcomes else self._commands.get(job_id)

    def _answer_for(self, command: Command) -> Answer | None:
        return next((answer for answer in self._answers if answer.fits(command)), None)

    def _end_unless_left_open(self) -> None:
        if not self.leave_open:
            self.end_shutdowns()
