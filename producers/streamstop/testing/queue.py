"""A queue in memory: what a :class:`~streamstop.testing.RecordingClient` has below it in the place of Redis."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LaneView
from streamstop._core.progress import Progress, RoomView, ShutdownStatus
from streamstop._redis.accounts import vendor_among
from streamstop.errors import StreamstopError
from streamstop.outcomes import Outcome
from streamstop.testing.answers import Answer, as_verified, cancelled_outcome, outcome_of
from streamstop.testing.letters import RecordedLetters
from streamstop.testing.rooms import RecordedRooms


class RecordedQueue:
    """See :class:`~streamstop._core.backend.Backend`. Nothing waits here: a time that is given is over at once."""

    timeout = timedelta(0)

    def __init__(self, accounts: Mapping[str, str], *, leave_open: bool) -> None:
        self.leave_open = leave_open
        self.enqueued: list[Command] = []
        self.error: StreamstopError | None = None
        self.rooms = RecordedRooms()
        self.dead = RecordedLetters(self._requeue)
        self._accounts = dict(accounts)
        self._answers: list[Answer] = []
        self._commands: dict[str, tuple[Command, datetime]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._changing = threading.RLock()

    def answer(self, answer: Answer) -> None:
        """Let commands that fit end so, before what older answers say."""
        with self._changing:
            self._answers.insert(0, answer)

    def end_jobs(self, job_ids: Iterable[str] | None = None) -> None:
        """End those of the jobs that are open; None: all."""
        with self._changing:
            for job_id in list(self._commands) if job_ids is None else job_ids:
                if job_id in self._commands and job_id not in self._outcomes:
                    command, enqueued_at = self._commands[job_id]
                    outcome = outcome_of(command, job_id, enqueued_at, self._answer_for(command))
                    self._outcomes[job_id] = outcome
                    self.dead.note(outcome, command)

    def end_shutdowns(self) -> None:
        """End every stream task of every shutdown that is open."""
        with self._changing:
            for shutdown, member in list(self.rooms.open_members()):
                command = member.command
                outcome = outcome_of(command, member.job_id, shutdown.opened_at, self._answer_for(command))
                outcome = as_verified(outcome, command) if shutdown.verify else outcome
                self.rooms.settle(shutdown, member, outcome)
                self.dead.note(outcome, command, room=shutdown.room)

    def close(self) -> None:
        """Do nothing: the client can be used again."""

    @contextmanager
    def reaching(self, consequence: str, *, commands: int = 0) -> Iterator[None]:  # noqa: ARG002
        """Raise the error that every call raises, where there is one."""
        if self.error is not None:
            raise self.error
        yield

    following = reaching

    def now(self) -> datetime:
        """Return the moment by this machine's clock."""
        return datetime.now(UTC)

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts that the test gave: names to vendors."""
        return dict(self._accounts)

    def vendor_of(self, account: str) -> str | None:
        """Return the vendor of `account`, or None where the test gave no accounts."""
        return vendor_among(self._accounts, account)

    def lanes(self, lanes: Sequence[Lane] | None) -> list[LaneView]:
        """Return how many open jobs `lanes` hold; None: each lane that has any."""
        with self._changing:
            waiting = Counter(
                command.lane for job_id, (command, _) in self._commands.items() if job_id not in self._outcomes
            )
            waiting.update(member.command.lane for _, member in self.rooms.open_members())
        nothing = timedelta(0)
        return [
            LaneView(lane=lane, waiting=waiting[lane], in_flight=0, deferred=0, rest=nothing, pace=None)
            for lane in (sorted(waiting) if lanes is None else lanes)
        ]

    def enqueue(self, jobs: Sequence[tuple[str, Command]], *, now: datetime, perhaps: str = "") -> None:  # noqa: ARG002
        """Record jobs, and end them at once unless they are left open."""
        with self._changing:
            for job_id, command in jobs:
                self.enqueued.append(command)
                self._commands[job_id] = (command, now)
        if not self.leave_open:
            self.end_jobs(job_id for job_id, _ in jobs)

    def record(self, job_id: str) -> Outcome | None:
        """Return how a job ended, or None."""
        return self._outcomes.get(job_id)

    def outcomes(self, job_ids: Sequence[str], timeout: timedelta | None) -> Iterator[Outcome]:  # noqa: ARG002
        """Yield how those of the jobs ended that have."""
        for job_id in dict.fromkeys(job_ids):
            if (outcome := self._outcomes.get(job_id)) is not None:
                yield outcome

    def cancel(self, lane: Lane, outcome: Outcome) -> str:  # noqa: ARG002
        """Record that a job is cancelled, unless it has ended."""
        with self._changing:
            ended = self._outcomes.setdefault(outcome.job_id, outcome)
        return "cancelled" if ended is outcome else "ended"

    def register(self, room: str, commands: Sequence[Command], *, now: datetime, again: str) -> str | None:  # noqa: ARG002
        """Note stream tasks; return the id of the shutdown that they joined, None in an open room."""
        with self._changing:
            joined = self.rooms.register(room, commands)
            self._go_on()
        return joined

    def unregister(self, room: str, commands: Sequence[Command]) -> int:
        """Take stream tasks out of a room; return how many were in."""
        with self._changing:
            return sum(self.rooms.unregister(room, command) for command in commands)

    def room(self, room: str) -> RoomView:
        """Return a room as it is now."""
        with self._changing:
            return self.rooms.view(room)

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
        """Open the room's shutdown, or join the open one; return its id. Nobody is called back."""
        with self._changing:
            opened = self.rooms.open(room, commands, verify=verify, callback=callback)
            self._go_on()
        return opened

    def reopen_room(self, room: str) -> bool:
        """Let what is registered in a closed room run again; False where its shutdown is open."""
        with self._changing:
            return self.rooms.reopen(room)

    def progress(self, shutdown: str) -> Progress | None:
        """Return how far a shutdown is."""
        with self._changing:
            recorded = self.rooms.shutdowns.get(shutdown)
            return None if recorded is None else recorded.progress(shutdown)

    def changes(self, shutdown: str, timeout: timedelta | None) -> Iterator[None]:  # noqa: ARG002
        """Yield once: the time is over then."""
        yield

    def outcomes_of(self, shutdown: str) -> Iterator[Outcome]:
        """Yield how those of its stream tasks ended that have."""
        recorded = self.rooms.shutdowns.get(shutdown)
        return iter([] if recorded is None else recorded.outcomes)

    def cancel_shutdown(self, shutdown: str) -> bool:
        """Take back what is open; the registry keeps those tasks. False where the shutdown is not open."""
        with self._changing:
            recorded = self.rooms.shutdowns.get(shutdown)
            if recorded is None or recorded.status is not ShutdownStatus.OPEN:
                return False
            recorded.cancelled = True
            for member in recorded.members:
                if member.outcome is None:
                    self.rooms.settle(recorded, member, cancelled_outcome(member.job_id, member.command.lane))
        return True

    def _requeue(self, command: Command) -> str:
        """Enqueue the command of a dead letter as a new job; return its id."""
        job_id = command.lane.new_job_id()
        self.enqueue([(job_id, command)], now=self.now())
        return job_id

    def _answer_for(self, command: Command) -> Answer | None:
        return next((answer for answer in self._answers if answer.fits(command)), None)

    def _go_on(self) -> None:
        if not self.leave_open:
            self.end_shutdowns()
