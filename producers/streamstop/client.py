"""Client: the API of a backend service. It validates and enqueues commands; it never calls a vendor.

:meth:`Client.enqueue` puts an ordinary Celery message into the command's lane and wakes a worker, which takes it from
there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from streamstop._core.backend import Backend, WaitInterval, blocking
from streamstop._core.commands import Command
from streamstop._core.controls import check_by
from streamstop._core.durations import positive_duration, wait_duration
from streamstop._core.journal import EventKind
from streamstop._core.membership import check_callback, check_page_size, check_room
from streamstop._core.progress import RoomPage, RoomView
from streamstop._core.requests import Request
from streamstop._redis.accounts import check_vendor
from streamstop._redis.backend import RedisBackend
from streamstop.dead_letters import DeadLetters
from streamstop.errors import InvalidCommand, InvalidSettings, StreamstopError, UnknownAccount, quoted
from streamstop.jobs import Job
from streamstop.operating import Operating
from streamstop.operations import Kind, Operation
from streamstop.outcomes import Outcome
from streamstop.settings import RedisSettings, RoomSettings
from streamstop.shutdowns import Shutdown

#: The longest that one call may wait for Redis.
LONGEST_TIMEOUT = timedelta(days=1)
#: How many commands of one call can be unique: one script checks and enqueues them.
MOST_UNIQUE = 500


class Client(Operating):
    """Enqueues commands, closes rooms, and reads outcomes.

    ::

        client = Client()
        job = client.enqueue(StopLivePullToPush(region="cn-shanghai", task_id="…"), account="live-cn")
        outcome = job.outcome(timeout=30)

    Create one client and keep it: threads can share it, and it works after a fork. It connects at its first use. `url`
    and `timeout` (how long to wait for Redis, in seconds or a timedelta) override the settings from the environment.

    Methods raise :class:`~streamstop.errors.InvalidCommand` for invalid input, before anything is sent, and
    :class:`~streamstop.errors.QueueUnavailable` if Redis does not answer.
    """

    def __init__(self, url: str | None = None, *, timeout: float | timedelta | None = None) -> None:
        limit = None if timeout is None else positive_duration(timeout, "timeout", LONGEST_TIMEOUT, InvalidSettings)
        settings = RedisSettings.from_environ(url=url, timeout=limit)
        self._backend: Backend = RedisBackend(settings, RoomSettings.from_environ())

    def __repr__(self) -> str:
        return f"Client({self._backend!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def timeout(self) -> timedelta:
        """How long one call may wait for Redis."""
        return self._backend.timeout

    @property
    def dead_letters(self) -> DeadLetters:
        """The jobs whose end needs a person's attention."""
        return DeadLetters(self._backend)

    def close(self) -> None:
        """Close the connections. The client can be used again."""
        self._backend.close()

    def enqueue(
        self,
        operation: Operation,
        *,
        account: str,
        priority: int = 0,
        expires_in: float | timedelta | None = None,
        unique: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Put one operation into its lane, and return its job at once.

        A command is never sent after `expires_in` (seconds, or a timedelta). Vendors let callers reuse a task id, so a
        very late stop can hit a later task. `priority` (0 first, to 9) orders jobs within the lane. `unique` and
        `idempotency_key` as in :meth:`enqueue_many`.
        """
        command = Command(operation=operation, account=account, priority=priority, expires_in=expires_in)
        return self.enqueue_many([command], unique=unique, idempotency_key=idempotency_key)[0]

    def enqueue_many(
        self,
        commands: Iterable[Command],
        *,
        unique: bool = False,
        idempotency_key: str | None = None,
        idempotency_namespace: str = "",
    ) -> list[Job]:
        """Put commands into their lanes, all of them or none; return their jobs in the same order.

        All commands are checked before any is sent. Up to 500 are sent in one round trip. More are sent in pieces that
        block Redis for a few milliseconds each, and one small step after the last accepts all of them.

        With `unique`, a command becomes no second job while a job of the same account, operation and parameters is
        open, which was enqueued with `unique` within the last day and does not expire earlier: that job is returned.
        It keeps its priority. At most 500 commands can be unique in one call.

        With `idempotency_key` (1 to 255 visible ASCII characters), a call that is made again within a day enqueues
        nothing more, and returns the same jobs. Keys of one `idempotency_namespace` are apart from those of another.
        Raises :class:`~streamstop.errors.IdempotencyConflict` if the commands differ from those of the first call, and
        :class:`~streamstop.errors.RequestUnderWay` if it has not returned.

        The Redis user must be allowed to run scripts for `unique` and `idempotency_key`.
        """
        commands = checked_commands(commands)
        if not commands:
            return []
        if unique and len(commands) > MOST_UNIQUE:
            raise InvalidCommand(
                f"at most {MOST_UNIQUE} commands can be unique in one call, not {len(commands)}", field="commands"
            )
        request = None
        if idempotency_key is not None:
            request = Request.of(idempotency_namespace, idempotency_key, commands, unique=unique)
        with self._backend.reaching("nothing was enqueued", commands=len(commands)):
            now = self._check_accounts(commands)
            lanes = [command.lane for command in commands]
            job_ids = [lane.new_job_id() for lane in lanes] if request is None else request.job_ids(lanes)
            named = f" as job {job_ids[0]}" if len(job_ids) == 1 else ""
            perhaps = f"the commands may or may not have been enqueued{named}; stopping twice is harmless"
            queued = list(zip(job_ids, commands, strict=True))
            if unique or request is not None:
                job_ids = self._backend.enqueue_once(queued, unique=unique, request=request, now=now, perhaps=perhaps)
            else:
                self._backend.enqueue(queued, now=now, perhaps=perhaps)
        return [Job(job_id, self._backend) for job_id in job_ids]

    def job(self, job_id: str) -> Job:
        """Return the job with this id, without checking that it exists."""
        return Job(job_id, self._backend)

    def outcomes(self, jobs: Sequence[Job], timeout: float | timedelta | None = None) -> Iterator[Outcome]:
        """Yield the outcomes of `jobs` as they end, until all have ended or `timeout` (seconds) is over."""
        yield from blocking(self._outcomes(jobs, timeout))

    def _outcomes(self, jobs: Sequence[Job], timeout: float | timedelta | None) -> Iterator[Outcome | WaitInterval]:
        with self._backend.following("the jobs go on; ask for their outcomes again"):
            yield from self._backend.outcomes([job.id for job in jobs], wait_duration(timeout))

    def register(self, room: str, operation: Operation, *, account: str) -> Shutdown | None:
        """Register a stream task that runs in `room`; `operation` is the stop that ends it. Idempotent.

        In a room that is closing, or that closed within the last ten minutes, the task is stopped at once as part of
        the shutdown, and the shutdown is returned. In an open room, None is returned.
        """
        return self.register_many(room, [Command(operation=operation, account=account)])

    def register_many(self, room: str, commands: Iterable[Command]) -> Shutdown | None:
        """Register many stream tasks, all of them or none; see :meth:`register`. Many are sent in pieces."""
        commands = checked_stops(room, commands)
        if not commands:
            return None
        perhaps, again = "the tasks may or may not be registered", "register them again"
        with self._backend.reaching(f"{perhaps}; {again}", commands=len(commands)):
            now = self._check_accounts(commands)
            joined = self._backend.register(room, commands, now=now, again=again)
        return None if joined is None else self.shutdown(joined)

    def unregister(self, room: str, operation: Operation, *, account: str) -> bool:
        """Remove a stream task from `room`, such as one that has ended by itself; return whether it was registered."""
        return self.unregister_many(room, [Command(operation=operation, account=account)]) > 0

    def unregister_many(self, room: str, commands: Iterable[Command]) -> int:
        """Remove many stream tasks from `room`; return how many were registered."""
        commands = checked_stops(room, commands)
        perhaps = "the tasks may or may not be registered still; unregister them again"
        with self._backend.reaching(perhaps, commands=len(commands)):
            return self._backend.unregister(room, commands)

    def room(self, room: str) -> RoomView:
        """Return the registered stream tasks of `room`, and the id of its open or latest shutdown."""
        check_room(room)
        with self._backend.reaching("the room could not be looked up"):
            return self._backend.room(room)

    def room_page(self, room: str, cursor: str | None = None, *, most: int = 100) -> RoomPage:
        """Return a page of about `most` (1 to 10,000) stream tasks that are registered in `room`.

        `cursor` is the ``next`` of the page before. A task that is registered from the first page to the last is in one
        of the pages, and while the room changes it can be in two.
        """
        check_room(room)
        most = check_page_size(most)
        with self._backend.reaching("the room could not be looked up"):
            return self._backend.room_page(room, cursor, most)

    def room_accounts(self, room: str) -> frozenset[str]:
        """Return the accounts of the stream tasks that are registered in `room`. It reads them all."""
        check_room(room)
        with self._backend.following("the room could not be looked up"):
            return self._backend.room_accounts(room)

    def stop_room(
        self,
        room: str,
        commands: Iterable[Command] = (),
        *,
        verify: bool = False,
        callback: str | Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> Shutdown:
        """Stop all stream tasks that are registered in `room`, and `commands`; return the shutdown at once.

        If the room has an open shutdown, it is returned, `commands` join it, and it keeps its own `verify` and
        `callback`. All `commands` are accepted, or none. With `verify`, each stop is followed until the vendor reports
        that the task is over. `callback` is called when the shutdown has ended: it is a Celery signature of the
        service's own, or an ``https://`` URL that receives a signed POST (see :mod:`streamstop.callbacks`). With `by`,
        who stops the room becomes an event.
        """
        commands, by = checked_stops(room, commands), None if by is None else check_by(by)
        checked_callback = check_callback(callback)
        perhaps, again = "the room may or may not be closing", "stop it again"
        with self._backend.reaching(f"{perhaps}; {again}", commands=len(commands)):
            now = self._check_accounts(commands) if commands else datetime.now(UTC)
            shutdown = self._backend.stop_room(
                room, commands, now=now, verify=verify, callback=checked_callback, again=again
            )
        if by is not None:
            with suppress(StreamstopError), self._backend.reaching("the act is not among the events"):
                text = f"room {quoted(room)} is stopped by shutdown {shutdown}"
                self._backend.journal.add(EventKind.ROOM_STOPPED, text, by=by)
        return self.shutdown(shutdown)

    def reopen_room(self, room: str) -> bool:
        """Let a closed room be used again at once: it no longer stops stream tasks that are registered.

        Return False if its shutdown is still open. That shutdown goes on.
        """
        check_room(room)
        with self._backend.reaching("the room may or may not be open again; reopen it again"):
            return self._backend.reopen_room(room)

    def shutdown(self, shutdown_id: str) -> Shutdown:
        """Return the shutdown with this id, without checking that it exists."""
        return Shutdown(shutdown_id, self._backend)

    def _check_accounts(self, commands: Sequence[Command]) -> datetime:
        """Refuse accounts that no running worker has; return the moment from which expiries count."""
        # In the order of the commands, so that the error names the first wrong account.
        for account, vendor in dict.fromkeys((c.account, c.operation.spec.product.vendor.name) for c in commands):
            try:
                check_vendor(account, self._backend.vendor_of(account), vendor)
            except UnknownAccount as unknown:
                unknown.index = next(
                    index
                    for index, command in enumerate(commands)
                    if (command.account, command.operation.spec.product.vendor.name) == (account, vendor)
                )
                raise
        return self._backend.now() if any(command.expires_in for command in commands) else datetime.now(UTC)


def checked_commands(commands: Iterable[Command]) -> list[Command]:
    """Return `commands` as a list; raise :class:`~streamstop.errors.InvalidCommand` if one is not a command."""
    commands = list(commands)
    for number, command in enumerate(commands, start=1):
        if not isinstance(command, Command):
            raise InvalidCommand(f"command {number} must be a Command, not {type(command).__name__}", field="commands")
    return commands


def checked_stops(room: str, commands: Iterable[Command]) -> list[Command]:
    """Return `commands` as a list, after checking the room's name and that they are stops without an expiry.

    Raises :class:`~streamstop.errors.InvalidCommand`.
    """
    check_room(room)
    commands = checked_commands(commands)
    for number, command in enumerate(commands, start=1):
        if command.operation.spec.kind is not Kind.STOP:
            raise InvalidCommand(
                f"command {number}: {command.operation.spec.id} is not a stop, and a room takes only stops",
                field="operation",
            )
        if command.expires_in is not None:
            raise InvalidCommand(
                f"command {number}: expires_in cannot be set in a room: its stops run when the room is stopped",
                field="expires_in",
            )
    return commands
