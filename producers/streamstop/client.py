"""Client: what a backend service holds. It validates, routes and publishes; it never calls a vendor.

The way of a command: :meth:`Client.enqueue` puts an ordinary Celery message into the command's lane queue and wakes
a worker, which takes it from there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from streamstop._core.backend import Backend
from streamstop._core.commands import Command
from streamstop._core.durations import positive_duration, wait_duration
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LaneView
from streamstop._core.membership import check_callback, check_room
from streamstop._core.progress import RoomView
from streamstop._redis.accounts import check_vendor
from streamstop._redis.backend import RedisBackend
from streamstop.dead_letters import DeadLetters
from streamstop.errors import InvalidCommand, InvalidSettings
from streamstop.jobs import Job
from streamstop.operations import Kind, Operation
from streamstop.outcomes import Outcome
from streamstop.settings import RedisSettings, RoomSettings
from streamstop.shutdowns import Shutdown

#: The longest that one call may wait for Redis.
LONGEST_TIMEOUT = timedelta(days=1)


class Client:
    """Enqueues commands, closes rooms, and reads outcomes.

    ::

        client = Client()
        job = client.enqueue(StopLivePullToPush(region="cn-shanghai", task_id="…"), account="live-cn")
        outcome = job.outcome(timeout=30)

    Make one and keep it: it is safe to share between threads, and usable after a fork. Nothing is connected before
    the first use. `url` and `timeout` (how long to wait for Redis, in seconds or a timedelta) go
    before the settings from the environment.

    Methods raise :class:`~streamstop.errors.InvalidCommand` for bad input, before anything is sent, and
    :class:`~streamstop.errors.QueueUnavailable` where Redis does not answer.
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
        """What ended so that a person must look."""
        return DeadLetters(self._backend)

    def close(self) -> None:
        """Close the connections; the client can be used again."""
        self._backend.close()

    def enqueue(
        self, operation: Operation, *, account: str, priority: int = 0, expires_in: float | timedelta | None = None
    ) -> Job:
        """Put one operation into its lane, and return its job at once.

        A command is never sent after `expires_in` (seconds, or a timedelta): a vendor lets callers use a task id
        again, so a very late stop can hit a successor. `priority` (0 first, to 9) orders jobs within the lane.
        """
        command = Command(operation=operation, account=account, priority=priority, expires_in=expires_in)
        return self.enqueue_many([command])[0]

    def enqueue_many(self, commands: Iterable[Command]) -> list[Job]:
        """Put commands into their lanes, all of them or none; return their jobs in the same order.

        Everything is checked before anything is sent. Up to 500 go in one round trip. More go in pieces that hold
        Redis for a few milliseconds each, and are accepted by one small step after the last.
        """
        commands = checked_commands(commands)
        if not commands:
            return []
        nothing, perhaps = "nothing was enqueued", "the commands may or may not have been enqueued"
        with self._backend.reaching(nothing, commands=len(commands)):
            now = self._check_accounts(commands)
            jobs = [Job(command.lane.new_job_id(), self._backend) for command in commands]
            queued = [(job.id, command) for command, job in zip(commands, jobs, strict=True)]
            self._backend.enqueue(queued, now=now, perhaps=f"{perhaps}; stopping twice is harmless")
        return jobs

    def job(self, job_id: str) -> Job:
        """Return the job with this id; whether it exists shows when it is asked for."""
        return Job(job_id, self._backend)

    def outcomes(self, jobs: Sequence[Job], timeout: float | timedelta | None = None) -> Iterator[Outcome]:
        """Yield the outcomes of `jobs` as they end, until all have or `timeout` (seconds) is over."""
        with self._backend.following("the jobs go on; ask for their outcomes again"):
            yield from self._backend.outcomes([job.id for job in jobs], wait_duration(timeout))

    def register(self, room: str, operation: Operation, *, account: str) -> Shutdown | None:
        """Note that a stream task runs in `room`: `operation` is the stop that will end it. Idempotent.

        In a room that is closing, or closed within the last ten minutes, the task is stopped at once as part of the
        shutdown, which is returned; in an open room, None is.
        """
        return self.register_many(room, [Command(operation=operation, account=account)])

    def register_many(self, room: str, commands: Iterable[Command]) -> Shutdown | None:
        """Note many stream tasks in one round trip; see :meth:`register`."""
        commands = checked_stops(room, commands)
        if not commands:
            return None
        perhaps, again = "the tasks may or may not be registered", "register them again"
        with self._backend.reaching(f"{perhaps}; {again}", commands=len(commands)):
            now = self._check_accounts(commands)
            joined = self._backend.register(room, commands, now=now, again=again)
        return None if joined is None else self.shutdown(joined)

    def unregister(self, room: str, operation: Operation, *, account: str) -> bool:
        """Take a stream task out of `room`, as when it has ended by itself; return whether it was registered."""
        commands = checked_stops(room, [Command(operation=operation, account=account)])
        with self._backend.reaching("the task may or may not be registered still; unregister it again"):
            return self._backend.unregister(room, commands) > 0

    def room(self, room: str) -> RoomView:
        """Return what is registered in `room`, and the id of its open or latest shutdown."""
        check_room(room)
        with self._backend.reaching("the room could not be looked up"):
            return self._backend.room(room)

    def stop_room(
        self,
        room: str,
        commands: Iterable[Command] = (),
        *,
        verify: bool = False,
        callback: str | Mapping[str, Any] | None = None,
    ) -> Shutdown:
        """Stop everything that is registered in `room` together with `commands`; return the shutdown at once.

        While a shutdown of the room is open, that one is returned with the `verify` and `callback` that it was opened
        with, and `commands` join it. `commands` are accepted
        whole or not at all. With `verify`, each stop is followed until the vendor itself says that the task is over.
        `callback` is told when the shutdown has ended: a Celery signature of the service's own, or an ``https://`` URL
        that gets a signed POST (see :mod:`streamstop.callbacks`).
        """
        commands = checked_stops(room, commands)
        told = check_callback(callback)
        perhaps, again = "the room may or may not be closing", "stop it again"
        with self._backend.reaching(f"{perhaps}; {again}", commands=len(commands)):
            now = self._check_accounts(commands) if commands else datetime.now(UTC)
            shutdown = self._backend.stop_room(room, commands, now=now, verify=verify, callback=told, again=again)
        return self.shutdown(shutdown)

    def reopen_room(self, room: str) -> bool:
        """End the time in which a closed room stops what is registered in it.

        Return False where its shutdown is still open, and goes on.
        """
        check_room(room)
        with self._backend.reaching("the room may or may not be open again; reopen it again"):
            return self._backend.reopen_room(room)

    def shutdown(self, shutdown_id: str) -> Shutdown:
        """Return the shutdown with this id; whether it exists shows when it is asked for."""
        return Shutdown(shutdown_id, self._backend)

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts that running workers have: names to vendors; empty where no worker runs."""
        with self._backend.reaching("the accounts could not be looked up"):
            return self._backend.accounts()

    def lanes(self, lanes: Iterable[Lane] | None = None) -> list[LaneView]:
        """Return what `lanes` hold now; None: what every lane holds that has a job, sorted by account and operation.

        Among these are the lanes of shutdowns' own steps, whose accounts begin with an underscore. To list them all,
        a Redis user must be allowed to read the workers' schedule; one who may only enqueue is not.
        """
        with self._backend.reaching("the lanes could not be looked at"):
            return self._backend.lanes(None if lanes is None else list(lanes))

    def _check_accounts(self, commands: Sequence[Command]) -> datetime:
        """Refuse accounts that no running worker has; return the moment that expiries count from."""
        # In the order of the commands, so that the first wrong one is the one that is named.
        for account, vendor in dict.fromkeys((c.account, c.operation.spec.product.vendor.name) for c in commands):
            check_vendor(account, self._backend.vendor_of(account), vendor)
        return self._backend.now() if any(command.expires_in for command in commands) else datetime.now(UTC)


def checked_commands(commands: Iterable[Command]) -> list[Command]:
    """Return `commands` as a list; raise :class:`~streamstop.errors.InvalidCommand` where one is something else."""
    commands = list(commands)
    for number, command in enumerate(commands, start=1):
        if not isinstance(command, Command):
            raise InvalidCommand(f"command {number} must be a Command, not {type(command).__name__}", field="commands")
    return commands


def checked_stops(room: str, commands: Iterable[Command]) -> list[Command]:
    """Return `commands` as a list, once the room's name and they are found fit to stop what runs in it.

    Raises :class:`~streamstop.errors.InvalidCommand`.
    """
    check_room(room)
    commands = checked_commands(commands)
    for number, command in enumerate(commands, start=1):
        if command.operation.spec.kind is not Kind.STOP:
            raise InvalidCommand(
                f"command {number}: {command.operation.spec.id} is no stop, and a room holds stops", field="operation"
            )
        if command.expires_in is not None:
            raise InvalidCommand(
                f"command {number}: expires_in cannot be given in a room, which says itself when it is over",
                field="expires_in",
            )
    return commands
