"""Client: what a backend service holds. It validates, routes and publishes; it never calls a vendor.

The way of a command: :meth:`Client.enqueue` publishes an ordinary Celery message to the command's lane queue and
nudges the lane; a worker takes it from there.
"""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # newer than its types
from redis import Redis

from streamstop.commands import TASK, Command
from streamstop.errors import InvalidCommand, NotCancellable, OutcomeTimeout, QueueUnavailable
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import UNREACHABLE, Lanes, Pace
from streamstop.lanes.names import Lane, result_key
from streamstop.operations import Operation
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral, outcome_record, read_record
from streamstop.settings import RedisSettings
from streamstop.waiting import wait

_UNREACHABLE = (*UNREACHABLE, OperationalError)


@dataclass(frozen=True)
class Job:
    """A command in the queue. Equal by id; safe to keep as its id and ask for again with :meth:`Client.job`."""

    id: str
    _client: "Client"

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def outcome(self, timeout: float | timedelta | None = None) -> Outcome:
        """Wait until the job has ended, and return how. `timeout` is in seconds; None waits for ever.

        Raises :class:`~streamstop.errors.OutcomeTimeout` where the job is still open then, and
        :class:`~streamstop.errors.QueueUnavailable`. How a job ended is never an exception: see ``outcome.result``.
        """
        for outcome in self._client.outcomes([self], timeout=timeout):
            return outcome
        raise OutcomeTimeout(f"job {self.id} is still open")

    def peek(self) -> Outcome | Deferral | None:
        """Return the outcome, or why the job is waiting to be called again, or None while there is neither."""
        with self._client.reaching("the job could not be looked up"):
            record: Any = self._client.connections.redis.get(result_key(self.id))
        return None if record is None else read_record(record)

    def cancel(self) -> Outcome:
        """Take the job back, so that the vendor is never called for it; return the outcome ``cancelled``.

        Raises :class:`~streamstop.errors.NotCancellable` where a worker has claimed it or it has ended.
        """
        lane = Lane.of_job(self.id)
        if lane is None:
            raise NotCancellable(f"job {self.id} has an id of another producer's, which does not name its lane")
        outcome = Outcome(
            result=Result.CANCELLED,
            job_id=self.id,
            account=lane.account,
            operation=lane.operation,
            ended_at=datetime.now(UTC),
        )
        with self._client.reaching("the job may or may not be cancelled; cancel it again"):
            answer = self._client.connections.lanes.cancel(lane, self.id, record=outcome_record(outcome))
        if answer != "cancelled":
            reason = "was already claimed by a worker" if answer == "claimed" else "has ended"
            raise NotCancellable(f"job {self.id} {reason}")
        return outcome


class _Connections:
    """What a client holds once it is used: made in one process, never carried into another."""

    def __init__(self, settings: RedisSettings) -> None:
        self.app = Celery("streamstop.client", set_as_current=False)
        self.app.conf.update(settings.celery_options())
        backend: Any = self.app.backend  # the Redis backend; its types know only the base
        self.redis: Redis = backend.client
        self.lanes = Lanes(self.redis)
        self.known_accounts = KnownAccounts(self.redis)

    def close(self) -> None:
        self.redis.close()
        self.app.close()


class Client:
    """Enqueues commands and reads their outcomes.

    ::

        client = Client()
        job = client.enqueue(StopLivePullToPush(region="cn-shanghai", task_id="…"), account="live-cn")
        outcome = job.outcome(timeout=30)

    Make one and keep it: it is safe to share between threads, and usable after a fork. Nothing is connected before
    the first use. `url` and `timeout` (how long to wait for Redis) go before the settings from the environment.
    """

    def __init__(self, url: str | None = None, *, timeout: timedelta | None = None) -> None:
        self._settings = RedisSettings.from_environ(url=url, timeout=timeout)
        self._lock = threading.Lock()
        self._connected: _Connections | None = None
        _forget_connections_after_fork(self)

    def __repr__(self) -> str:
        return f"Client({self._settings!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client can be used again."""
        with self._lock:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    def enqueue(
        self, operation: Operation, *, account: str, priority: int = 0, expires_in: timedelta | None = None
    ) -> Job:
        """Put one operation into its lane, and return its job at once.

        A command is never sent after `expires_in`: a vendor lets callers use a task id again, so a very late stop
        can hit a successor. `priority` (0 first, to 9) orders jobs within the lane.

        Raises :class:`~streamstop.errors.InvalidCommand` (nothing was enqueued) and
        :class:`~streamstop.errors.QueueUnavailable`.
        """
        command = Command(operation=operation, account=account, priority=priority, expires_in=expires_in)
        return self.enqueue_many([command])[0]

    def enqueue_many(self, commands: Iterable[Command]) -> list[Job]:
        """Put commands into their lanes in one pipeline; return their jobs in the same order.

        Everything is checked before anything is sent. Raises as :meth:`enqueue` does.
        """
        commands = list(commands)
        for command in commands:
            if not isinstance(command, Command):
                raise InvalidCommand(f"enqueue_many takes Command objects, not {type(command).__name__}")
        if not commands:
            return []
        with self.reaching("nothing was enqueued"):
            self._check_accounts(commands)
            now = self._now() if any(command.expires_in for command in commands) else datetime.now(UTC)
        jobs = [Job(command.lane.new_job_id(), self) for command in commands]
        with self.reaching("the commands may or may not have been enqueued; stopping twice is harmless"):
            self._publish(commands, jobs, now)
        self._admit({command.lane: command for command in commands})
        return jobs

    def job(self, job_id: str) -> Job:
        """Return the job with this id; whether it exists shows when it is asked for."""
        return Job(job_id, self)

    def outcomes(self, jobs: Sequence[Job], timeout: float | timedelta | None = None) -> Iterator[Outcome]:
        """Yield the outcomes of `jobs` as they end, until all have or `timeout` (seconds) is over.

        Raises :class:`~streamstop.errors.QueueUnavailable`.
        """
        limit = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
        with self.reaching("the jobs go on; ask for their outcomes again"):
            yield from wait(self.connections.redis, [job.id for job in jobs], limit)

    @property
    def connections(self) -> _Connections:
        """The connections, made at the first use."""
        with self._lock:
            if self._connected is None:
                self._connected = _Connections(self._settings)
            return self._connected

    @contextmanager
    def reaching(self, consequence: str) -> Iterator[None]:
        """Turn an error of the connection to Redis into :class:`~streamstop.errors.QueueUnavailable`."""
        try:
            yield
        except BatchPublishError as error:
            raise QueueUnavailable(f"Redis did not answer: {consequence}") from error
        except _UNREACHABLE as error:
            raise QueueUnavailable(f"Redis did not answer ({type(error).__name__}): {consequence}") from error

    def _check_accounts(self, commands: Sequence[Command]) -> None:
        # In the order of the commands, so that the first wrong one is the one that is named.
        for account, vendor in dict.fromkeys((c.account, c.operation.spec.product.vendor.name) for c in commands):
            self.connections.known_accounts.check(account, vendor)

    def _now(self) -> datetime:
        reply: Any = self.connections.redis.time()
        return datetime.fromtimestamp(reply[0] + reply[1] / 1_000_000, UTC)

    def _publish(self, commands: Sequence[Command], jobs: Sequence[Job], now: datetime) -> None:
        app = self.connections.app
        pool: Any = app.producer_pool  # kombu's types do not know the batch yet
        with (
            pool.acquire(block=True, timeout=self._settings.timeout.total_seconds()) as producer,
            producer.batch(max_size=len(commands)),
        ):
            for command, job in zip(commands, jobs, strict=True):
                message = app.amqp.as_task_v2(
                    job.id, TASK, (command.to_message(now=now),), {}, argsrepr="", kwargsrepr=""
                )
                producer.publish(
                    message.body,
                    exchange="",
                    routing_key=command.lane.queue,
                    serializer="json",
                    headers=message.headers,
                    priority=command.priority,
                    retry=False,
                    **message.properties,
                )

    def _admit(self, lanes: dict[Lane, Command]) -> None:
        """Nudge the lanes. The commands are safe already: where this fails, the workers' sweep does it."""
        for lane, command in lanes.items():
            try:
                self.connections.lanes.admit(lane, Pace.of_limit(command.operation.spec.limit))
            except _UNREACHABLE:
                return


def _forget_connections_after_fork(client: Client) -> None:
    """Give a forked child connections of its own; its parent's sockets are not its to use or to close."""
    reference = weakref.ref(client)

    def forget() -> None:
        if (alive := reference()) is not None:
            alive._lock = threading.Lock()  # noqa: SLF001
            alive._connected = None  # noqa: SLF001

    os.register_at_fork(after_in_child=forget)
