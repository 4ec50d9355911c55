"""A client for the unit tests of services: it validates as the real one does, records, and needs no Redis.

::

    client = RecordingClient(accounts={"live-cn": "aliyun"})
    client.answer(StopMPUTask, result="not_found", code="CodeTaskNotExist")
    close_room(client, …)                       # the code under test
    assert client.enqueued == [Command(operation=StopMPUTask(…), account="live-cn")]

Nothing here waits: an outcome is there at once, or, with ``leave_open``, it is a timeout at once.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from streamstop.aio import AsyncClient
from streamstop.client import Client
from streamstop.commands import Command
from streamstop.errors import InvalidCommand, NotCancellable, OutcomeTimeout, StreamstopError
from streamstop.jobs import Job
from streamstop.known_accounts import check_vendor, vendor_among
from streamstop.lanes import Lane
from streamstop.operations import Kind, Operation, StatusField
from streamstop.outcomes import Outcome, Result, State, Status
from streamstop.results import Deferral

_T = TypeVar("_T")
#: Which commands an answer is for: those of an operation, or those that a predicate picks.
Which = type[Operation] | Callable[[Command], bool]
_RESULTS_OF_ONE_KIND = {Result.STOPPED: Kind.STOP, Result.ALREADY_STOPPED: Kind.STOP, Result.STATUS: Kind.STATUS}


@dataclass(frozen=True)
class _Answer:
    which: Which
    result: Result
    raw: int | str | None
    told: Mapping[str, Any]

    def fits(self, command: Command) -> bool:
        if isinstance(self.which, type):
            return isinstance(command.operation, self.which)
        return self.which(command)


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
    worker has spoken. With `leave_open`, jobs stay open until :meth:`end`. Safe to share between threads.
    """

    def __init__(self, *, accounts: Mapping[str, str] | None = None, leave_open: bool = False) -> None:
        self.accounts = dict(accounts or {})
        self.leave_open = leave_open
        #: Every command that was enqueued, in order.
        self.enqueued: list[Command] = []
        self._answers: list[_Answer] = []
        self._commands: dict[str, tuple[Command, datetime]] = {}
        self._outcomes: dict[str, Outcome] = {}
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
        answer = _Answer(which, Result(result), raw, {"code": code, "message": message, "reply": reply})
        if isinstance(which, type):
            _check_kind(answer.result, which)
        with self._changing:
            self._answers.insert(0, answer)

    def fail_with(self, error: StreamstopError | None) -> None:
        """Let every call raise `error` from now on, such as ``QueueUnavailable("…")``; None: let them work again."""
        self._error = error

    def end(self, *jobs: Job) -> None:
        """End open jobs, by the answers that hold now; without arguments, all that are open."""
        with self._changing:
            for job_id in [job.id for job in jobs] or list(self._commands):
                if job_id in self._commands and job_id not in self._outcomes:
                    self._outcomes[job_id] = self._ended(job_id)

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
        commands = list(commands)
        for command in commands:
            if not isinstance(command, Command):
                raise InvalidCommand(f"enqueue_many takes Command objects, not {type(command).__name__}")
        if not commands:
            return []
        self._fail()
        for command in commands:
            vendor = command.operation.spec.product.vendor.name
            check_vendor(command.account, vendor_among(self.accounts, command.account), vendor)
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

    def take_back(self, job_id: str) -> Outcome:
        """Cancel an open job: what :meth:`RecordingJob.cancel` does."""
        self._fail()
        lane = Lane.of_job(job_id)
        if lane is None:
            raise NotCancellable(f"job {job_id} has an id of another producer's, which does not name its lane")
        with self._changing:
            if job_id in self._outcomes:
                raise NotCancellable(f"job {job_id} has ended")
            outcome = Outcome(
                result=Result.CANCELLED,
                job_id=job_id,
                account=lane.account,
                operation=lane.operation,
                ended_at=datetime.now(UTC),
            )
            self._outcomes[job_id] = outcome
        return outcome

    @property
    def connections(self) -> NoReturn:
        """There are none."""
        raise NotImplementedError("a RecordingClient has no connection to Redis")

    @contextmanager
    def reaching(self, consequence: str) -> Iterator[None]:  # noqa: ARG002
        """Do nothing: there is nothing to reach."""
        yield

    def _fail(self) -> None:
        if self._error is not None:
            raise self._error

    def _ended(self, job_id: str) -> Outcome:
        command, enqueued_at = self._commands[job_id]
        declaration = type(command.operation)
        stop = declaration.spec.kind is Kind.STOP
        answer = next((answer for answer in self._answers if answer.fits(command)), None)
        result = answer.result if answer is not None else Result.STOPPED if stop else Result.STATUS
        _check_kind(result, declaration)
        told = dict(answer.told) if answer is not None else {}
        if result is Result.STATUS:
            field = declaration.spec.status
            told["status"] = None if field is None else _status(field, None if answer is None else answer.raw)
            told["reply"] = None if field is not None else told.get("reply") or {}
        calls = 0 if result in {Result.EXPIRED, Result.CANCELLED} else 1
        return Outcome(
            result=result,
            job_id=job_id,
            operation=declaration.spec.id,
            account=command.account,
            attempts=calls,
            calls=calls,
            enqueued_at=enqueued_at,
            ended_at=datetime.now(UTC),
            **told,
        )


class RecordingAsyncClient(AsyncClient):
    """Stands in for an :class:`~streamstop.aio.AsyncClient`: the same, over a :class:`RecordingClient`.

    ::

        recording = RecordingClient(…)
        await close_room(RecordingAsyncClient(recording), …)
        assert recording.enqueued == […]
    """

    client: RecordingClient

    def __init__(self, recording: RecordingClient | None = None) -> None:
        self.client = recording if recording is not None else RecordingClient()

    async def close(self) -> None:
        """Do nothing: the client can be used again."""

    async def calling(self, call: Callable[[], _T]) -> _T:
        """Run the call here and now: it does not block."""
        return call()

    async def waiting(self, call: Callable[[], _T]) -> _T:
        """Run the call here and now: it does not wait."""
        return call()


def _check_kind(result: Result, declaration: type[Operation]) -> None:
    kind = declaration.spec.kind
    if _RESULTS_OF_ONE_KIND.get(result, kind) is not kind:
        raise ValueError(f"{declaration.spec.id} is a {kind.value} operation: it does not end {result.value!r}")


def _status(field: StatusField, raw: int | str | None) -> Status:
    """Return what the operation's own table makes of `raw`; without one, of the first value that means over."""
    reply: Any = raw if raw is not None else next((v for v, s in field.states.items() if s is State.STOPPED), None)
    for name in reversed(field.path.split(".")):
        reply = {name: reply}
    return field.read(reply)
