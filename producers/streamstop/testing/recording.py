"""The recording client and its jobs: it refuses what the real one refuses, and writes everything else down."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from streamstop.client import Client, checked_commands, checked_stops
from streamstop.commands import Command
from streamstop.errors import NotCancellable, OutcomeTimeout, StreamstopError
from streamstop.jobs import Job
from streamstop.known_accounts import check_vendor, vendor_among
from streamstop.lanes import Lane
from streamstop.operations import Operation
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral
from streamstop.rooms import RoomView, ShutdownStatus, check_callback, check_room
from streamstop.shutdown import Shutdown
from streamstop.testing.answers import Answer, Which, as_verified, cancelled_outcome, outcome_of
from streamstop.testing.rooms import RecordedRooms, RecordedShutdown, RecordingShutdown


class RecordingJob(Job):
    """A job of a :class:`RecordingClient`."""

    def __init__(self, job_id: str, client: "RecordingClient") -> None:
        object.__setattr__(self, "id", job_id)  # the base is frozen
        object.__setattr__(self, "_client", client)

    _client: "RecordingClient"

    def outcome(self, timeout: float | timedelta | None = None) -> Outcome:
        """Return the outcome; the time is over at once for a job that is open, whatever `timeout` is."""
        for outcome in self._client.outcomes([self], timeout):
            return outcome
        raise OutcomeTimeout(f"job {self.id} is still open")

    def peek(self) -> Outcome | Deferral | None:
        """Return the outcome, or None for a job that is open."""
        return self._client.ended(self.id)

    def cancel(self) -> Outcome:
        """Take the job back, as :meth:`streamstop.client.Job.cancel` does."""
        return self._client.take_back(self.id)


class RecordingClient(Client):
    """Stands in for a :class:`~streamstop.client.Client` where there is no Redis and no vendor.

    `accounts` (names to vendors) are those that workers have; without any, every name is taken, as it is where no
    worker has spoken. With `leave_open`, jobs and shutdowns stay open until :meth:`end`. Safe to share between threads.
    """

    def __init__(self, *, accounts: Mapping[str, str] | None = None, leave_open: bool = False) -> None:
        self.accounts = dict(accounts or {})
        self.leave_open = leave_open
        #: Every command that was enqueued, in order.
        self.enqueued: list[Command] = []
        self._answers: list[Answer] = []
        self._commands: dict[str, tuple[Command, datetime]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._rooms = RecordedRooms()
        self._error: StreamstopError | None = None
        self._changing = threading.RLock()

    def __repr__(self) -> str:
        return f"RecordingClient({len(self.enqueued)} enqueued)"

    def __enter__(self) -> "RecordingClient":
        return self

    # What tests say and ask.

    def answer(
        self,
        which: Which,
        *,
        result: Result | str,
        code: str | None = None,
        message: str | None = None,
        raw: int | str | None = None,
        reply: dict[str, Any] | None = None,
    ) -> None:
        """Let the commands that `which` picks end so from now on; of several answers that fit, the latest counts.

        `raw` is the vendor's value for a status operation, read by the operation's own table. Without an answer,
        stops end ``stopped`` and status operations report a task that is over.

        Raises :class:`ValueError` for a result that the operation cannot have.
        """
        answer = Answer(which, Result(result), raw, {"code": code, "message": message, "reply": reply})
        with self._changing:
            self._answers.insert(0, answer)

    def fail_with(self, error: StreamstopError | None) -> None:
        """Let every call raise `error` from now on, such as ``QueueUnavailable("…")``; None: let them work again."""
        self._error = error

    def end(self, *jobs: Job) -> None:
        """End open jobs, by the answers that hold now; without arguments, all that are open, and all shutdowns."""
        with self._changing:
            if not jobs:
                self._end_shutdowns()
            for job_id in [job.id for job in jobs] or list(self._commands):
                if job_id in self._commands and job_id not in self._outcomes:
                    self._outcomes[job_id] = self._ended(job_id)

    @property
    def shutdowns(self) -> list[RecordingShutdown]:
        """Every shutdown that was opened, in order."""
        return [self._shutdown(shutdown_id) for shutdown_id in self._rooms.shutdowns]

    def ended(self, job_id: str) -> Outcome | None:
        """Return how a job ended, or None."""
        self._fail()
        return self._outcomes.get(job_id)

    # What the real client has.

    def close(self) -> None:
        """Do nothing: the client can be used again."""

    def enqueue(
        self, operation: Operation, *, account: str, priority: int = 0, expires_in: timedelta | None = None
    ) -> Job:
        """Validate and record one operation."""
        command = Command(operation=operation, account=account, priority=priority, expires_in=expires_in)
        return self.enqueue_many([command])[0]

    def enqueue_many(self, commands: Iterable[Command]) -> list[Job]:
        """Validate and record commands: all, or none."""
        commands = checked_commands(commands)
        if not commands:
            return []
        self._check_accounts_known(commands)
        now = datetime.now(UTC)
        jobs: list[Job] = [RecordingJob(command.lane.new_job_id(), self) for command in commands]
        with self._changing:
            for command, job in zip(commands, jobs, strict=True):
                self.enqueued.append(command)
                self._commands[job.id] = (command, now)
        if not self.leave_open:
            self.end(*jobs)
        return jobs

    def job(self, job_id: str) -> Job:
        """Return the job with this id; whether it exists shows when it is asked for."""
        return RecordingJob(job_id, self)

    def outcomes(
        self,
        jobs: Sequence[Job],
        timeout: float | timedelta | None = None,  # noqa: ARG002
    ) -> Iterator[Outcome]:
        """Yield the outcomes of those `jobs` that have ended; the time is over at once, whatever `timeout` is."""
        self._fail()
        for job_id in dict.fromkeys(job.id for job in jobs):
            if (outcome := self._outcomes.get(job_id)) is not None:
                yield outcome

    def register(self, room: str, operation: Operation, *, account: str) -> Shutdown | None:
        """Note one stream task; the shutdown that it joined, where the room is closing or closed."""
        return self.register_many(room, [Command(operation=operation, account=account)])

    def register_many(self, room: str, commands: Iterable[Command]) -> Shutdown | None:
        """Note stream tasks: all, or none."""
        commands = checked_stops(room, commands)
        if not commands:
            return None
        self._check_accounts_known(commands)
        with self._changing:
            joined = self._rooms.register(room, commands)
            self._go_on()
        return None if joined is None else self.shutdown(joined)

    def unregister(self, room: str, operation: Operation, *, account: str) -> bool:
        """Take a stream task out of `room`; return whether it was registered."""
        (command,) = checked_stops(room, [Command(operation=operation, account=account)])
        self._fail()
        with self._changing:
            return self._rooms.unregister(room, command)

    def room(self, room: str) -> RoomView:
        """Return what is registered in `room`, and the id of its open or latest shutdown."""
        check_room(room)
        self._fail()
        with self._changing:
            return self._rooms.view(room)

    def stop_room(
        self,
        room: str,
        commands: Iterable[Command] = (),
        *,
        verify: bool = False,
        callback: str | Mapping[str, Any] | None = None,
    ) -> Shutdown:
        """Stop what is registered together with `commands`. Nobody is called back."""
        commands = checked_stops(room, commands)
        told = check_callback(callback)
        self._check_accounts_known(commands)
        with self._changing:
            opened = self._rooms.open(room, commands, verify=verify, callback=told)
            self._go_on()
        return self.shutdown(opened)

    def reopen_room(self, room: str) -> bool:
        """Let what is registered in a closed room run again; False where its shutdown is open."""
        check_room(room)
        self._fail()
        with self._changing:
            return self._rooms.reopen(room)

    def shutdown(self, shutdown_id: str) -> Shutdown:
        """Return the shutdown with this id; whether it exists shows when it is asked for."""
        return self._shutdown(shutdown_id)

    def take_back(self, job_id: str) -> Outcome:
        """Cancel an open job: what :meth:`RecordingJob.cancel` does."""
        self._fail()
        lane = Lane.of_job(job_id)
        if lane is None:
            raise NotCancellable(f"job {job_id} has an id of another producer's, which does not name its lane")
        with self._changing:
            if job_id in self._outcomes:
                raise NotCancellable(f"job {job_id} has ended")
            outcome = cancelled_outcome(job_id, lane)
            self._outcomes[job_id] = outcome
        return outcome

    @property
    def connections(self) -> NoReturn:
        """There are none."""
        raise NotImplementedError("a RecordingClient has no connection to Redis")

    def reaching(self, consequence: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: there is nothing to reach."""
        return nullcontext()

    def _fail(self) -> None:
        if self._error is not None:
            raise self._error

    def _check_accounts_known(self, commands: Sequence[Command]) -> None:
        self._fail()
        for command in commands:
            vendor = command.operation.spec.product.vendor.name
            check_vendor(command.account, vendor_among(self.accounts, command.account), vendor)

    def _ended(self, job_id: str) -> Outcome:
        command, enqueued_at = self._commands[job_id]
        return outcome_of(command, job_id, enqueued_at, self._answer_for(command))

    def _answer_for(self, command: Command) -> Answer | None:
        return next((answer for answer in self._answers if answer.fits(command)), None)

    def _go_on(self) -> None:
        if not self.leave_open:
            self._end_shutdowns()

    def _end_shutdowns(self) -> None:
        for shutdown, member in list(self._rooms.open_members()):
            command = member.command
            outcome = outcome_of(command, member.job_id, shutdown.opened_at, self._answer_for(command))
            self._rooms.settle(shutdown, member, as_verified(outcome, command) if shutdown.verify else outcome)

    def _shutdown(self, shutdown_id: str) -> RecordingShutdown:
        return RecordingShutdown(shutdown_id, self._recorded, self._cancel_shutdown)

    def _recorded(self, shutdown_id: str) -> RecordedShutdown | None:
        self._fail()
        return self._rooms.shutdowns.get(shutdown_id)

    def _cancel_shutdown(self, shutdown_id: str) -> bool:
        self._fail()
        with self._changing:
            shutdown = self._rooms.shutdowns.get(shutdown_id)
            if shutdown is None or shutdown.status is not ShutdownStatus.OPEN:
                return False
            shutdown.cancelled = True
            for member in shutdown.members:
                if member.outcome is None:
                    self._rooms.settle(shutdown, member, cancelled_outcome(member.job_id, member.command.lane))
        return True
