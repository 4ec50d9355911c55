"""Connections: a client's connections to Redis. They belong to one process, and a forked child opens its own."""

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from streamstop._core.lane_types import Queued
from streamstop._core.requests import Request
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.controls import ControlStore
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.deadline import deadline, remaining
from streamstop._redis.errors import ERRORS, failure
from streamstop._redis.journal import Journal
from streamstop._redis.lanes import Lanes
from streamstop._redis.news import News
from streamstop._redis.pool import close_redis, open_redis
from streamstop._redis.publishing import AT_ONCE, Publisher
from streamstop._redis.requests import Accepted, OneJob
from streamstop._redis.rooms import Rooms
from streamstop.errors import QueueUnavailable
from streamstop.settings import RedisSettings, RoomSettings

#: How much each command that a call enqueues extends its deadline.
_EACH = timedelta(milliseconds=1)


@dataclass(frozen=True)
class _Open:
    """Open connections. All threads share them."""

    redis: Redis
    lanes: Lanes
    known_accounts: KnownAccounts
    rooms: Rooms
    dead: DeadLetterStore
    controls: ControlStore
    journal: Journal
    publisher: Publisher
    news: News


class Connections:
    """The connections of one client. The first use opens them."""

    def __init__(self, settings: RedisSettings, rooms: RoomSettings) -> None:
        self.settings = settings
        self._rooms = rooms
        self._lock = threading.Lock()
        self._open: _Open | None = None
        _forget_after_fork(self)

    @property
    def redis(self) -> Redis:
        """The client of redis-py, with its pool."""
        return self._opened().redis

    @property
    def lanes(self) -> Lanes:
        """The lanes."""
        return self._opened().lanes

    @property
    def known_accounts(self) -> KnownAccounts:
        """The accounts of the running workers."""
        return self._opened().known_accounts

    @property
    def rooms(self) -> Rooms:
        """The rooms and their shutdowns."""
        return self._opened().rooms

    @property
    def dead(self) -> DeadLetterStore:
        """The dead letters."""
        return self._opened().dead

    @property
    def controls(self) -> ControlStore:
        """The pauses, limits and holds."""
        return self._opened().controls

    @property
    def journal(self) -> Journal:
        """The events, and the counts of vendors' errors."""
        return self._opened().journal

    @property
    def news(self) -> News:
        """What the waits listen to."""
        return self._opened().news

    def now(self) -> datetime:
        """Return the current time by Redis' clock."""
        reply: Any = self.redis.time()
        return datetime.fromtimestamp(reply[0] + reply[1] / 1_000_000, UTC)

    def close(self) -> None:
        """Close the connections. The next use opens new ones."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            opened.news.close()
            close_redis(opened.redis)

    @contextmanager
    def reaching(self, consequence: str, *, commands: int = 0) -> Iterator[None]:
        """Turn errors of Redis into streamstop's own, and limit the block to the timeout in the settings.

        The timeout covers all round trips of the block. When nested, the outer timeout applies. `commands` is how many
        commands the call enqueues: each of them extends the timeout a little.
        """
        with deadline(self.settings.timeout + commands * _EACH), self.following(consequence):
            yield

    @contextmanager
    def following(self, consequence: str, *, job_ids: Sequence[str] = ()) -> Iterator[None]:
        """Turn errors of Redis into streamstop's own, for a block that may wait longer than the timeout.

        They become :class:`~streamstop.errors.QueueUnavailable`, or :class:`~streamstop.errors.InternalError` for a
        bug. `job_ids` are the jobs that the block enqueues. The timeout in the settings applies to each round trip.
        """
        try:
            yield
        except ERRORS as error:
            raise failure(error, consequence=consequence, refused="nothing was changed", job_ids=job_ids) from error

    def publish(self, queued: Sequence[Queued], job_ids: Sequence[str], *, perhaps: str) -> None:
        """Put the messages of jobs into their lanes, all of them or none, and wait until the replicas have them.

        `perhaps` is the consequence to report if Redis does not say whether it has accepted them.
        """
        publisher = self._opened().publisher
        if len(queued) <= AT_ONCE:
            with self.following(perhaps, job_ids=job_ids):
                confirmations = publisher.put(queued)
        else:
            batch = publisher.stage(queued)
            with self.following(perhaps, job_ids=job_ids):
                confirmations = publisher.accept(batch, len(queued))
            publisher.spread(batch)
        self._check_enqueued(confirmations, job_ids)

    def publish_once(self, jobs: Sequence[OneJob], request: Request | None, *, perhaps: str) -> Accepted:
        """Put jobs into their lanes, but not those of unique commands with open jobs, nor any of a repeated request.

        All of them are accepted, or none. Wait until the replicas have them. `perhaps` as in :meth:`publish`.
        """
        job_ids, publisher = [job.id for job in jobs], self._opened().publisher
        if request is None or len(jobs) <= AT_ONCE:
            with self.following(perhaps, job_ids=job_ids):
                accepted, confirmations = publisher.put_once(jobs, request)
        else:
            known, confirmations = publisher.begin(request)
            if known is None:
                try:
                    batch = publisher.stage([job.queued for job in jobs])
                except BaseException:
                    publisher.forget(request)
                    raise
                with self.following(perhaps, job_ids=job_ids):
                    known, confirmations = publisher.accept_once(batch, len(jobs), request)
                if known.is_new:  # another batch is that of an earlier call, and this one is discarded
                    publisher.spread(batch)
            accepted = known
        self._check_enqueued(confirmations, accepted.ids or job_ids)
        return accepted

    @contextmanager
    def confirmed(self, done: str, again: str) -> Iterator[Rooms]:
        """Yield the rooms; after the block, wait for the replicas, as :meth:`confirmed_client` does."""
        with self.confirmed_client(done, again) as redis:
            opened = self._opened()
            yield opened.rooms if redis is opened.redis else Rooms(redis, opened.lanes, self._rooms)

    @contextmanager
    def confirmed_client(self, done: str, again: str) -> Iterator[Redis]:
        """Yield a client of redis-py; after the block, wait until the replicas have what the block wrote with it.

        Raises :class:`~streamstop.errors.QueueUnavailable` if too few replicas confirm in time. Its message begins with
        `done`, and tells the caller to do it `again`.
        """
        redis: Any = self.redis  # redis-py does not type these methods
        replicas = self.settings.replicas
        if not replicas:
            yield redis
            return
        with redis.client() as connection:  # WAIT counts what its own connection has written
            yield connection
            try:
                confirmations = connection.execute_command("WAIT", replicas, self._replica_timeout_ms())
            except ERRORS as error:
                confirmations = error
            self._check_confirmed(confirmations, done, again)

    def _replica_timeout_ms(self) -> int:
        """Return how long Redis may wait for replicas and still answer before the call's deadline."""
        return max(1, int(remaining(self.settings.timeout) / timedelta(milliseconds=1) * 0.7))

    def _check_enqueued(self, replicas: int | Exception, job_ids: Sequence[str]) -> None:
        """Raise if too few replicas have the jobs, or if Redis did not say how many."""
        try:
            self._check_confirmed(replicas, "it was enqueued", "enqueueing again is harmless")
        except QueueUnavailable as unconfirmed:
            unconfirmed.job_ids = tuple(job_ids)
            raise

    def _check_confirmed(self, replicas: int | Exception, done: str, again: str) -> None:
        """Raise if fewer replicas have confirmed than the settings ask for, or if Redis did not say how many."""
        if isinstance(replicas, Exception):
            unconfirmed = f"{done}, but no replica is known to have it; {again}"
            raise failure(replicas, consequence=unconfirmed, refused=f"{done}; {again}") from replicas
        if replicas < self.settings.replicas:
            raise QueueUnavailable(
                f"{done}, but {replicas} of {self.settings.replicas} replicas confirmed it in time: {again}"
            )

    def _opened(self) -> _Open:
        with self._lock:
            if self._open is None:
                redis = open_redis(self.settings)
                lanes = Lanes(redis)
                rooms = Rooms(redis, lanes, self._rooms)
                publisher = Publisher(redis, self.settings.replicas, self._replica_timeout_ms)
                self._open = _Open(
                    redis=redis,
                    lanes=lanes,
                    known_accounts=KnownAccounts(redis),
                    rooms=rooms,
                    dead=DeadLetterStore(redis, lanes),
                    controls=ControlStore(redis, self.confirmed_client),
                    journal=Journal(redis),
                    publisher=publisher,
                    news=News(redis, self.settings.timeout),
                )
            return self._open


def _forget_after_fork(connections: Connections) -> None:
    """Make a forked child open its own connections. It must neither use nor close its parent's sockets."""
    reference = weakref.ref(connections)

    def forget() -> None:
        if (alive := reference()) is not None:
            alive._lock = threading.Lock()  # noqa: SLF001
            alive._open = None  # noqa: SLF001

    os.register_at_fork(after_in_child=forget)
