"""Connections: what a client holds once it is used. Made in one process, never carried into another."""

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
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.deadline import at_most, left
from streamstop._redis.errors import ERRORS, failure
from streamstop._redis.lanes import Lanes
from streamstop._redis.least_privilege import LeastPrivilegeLanes
from streamstop._redis.news import News
from streamstop._redis.pool import close_redis, open_redis
from streamstop._redis.publishing import AT_ONCE, Publisher
from streamstop._redis.rooms import Rooms
from streamstop.errors import QueueUnavailable
from streamstop.settings import RedisSettings, RoomSettings

#: How much longer a call may take for each command that it brings.
_EACH = timedelta(milliseconds=1)


@dataclass(frozen=True)
class _Open:
    """Connections that are open: pools, shared by all threads."""

    redis: Redis
    lanes: Lanes
    known_accounts: KnownAccounts
    rooms: Rooms
    dead: DeadLetterStore
    publisher: Publisher
    news: News


class Connections:
    """The connections of one client: opened at the first use, and anew in a forked child."""

    def __init__(self, settings: RedisSettings, rooms: RoomSettings) -> None:
        self.settings = settings
        self._rooms = rooms
        self._lock = threading.Lock()
        self._open: _Open | None = None
        _forget_after_fork(self)

    @property
    def redis(self) -> Redis:
        """The pool for the client's own commands."""
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
    def news(self) -> News:
        """What the waits listen to."""
        return self._opened().news

    def now(self) -> datetime:
        """Return the moment by Redis' clock."""
        reply: Any = self.redis.time()
        return datetime.fromtimestamp(reply[0] + reply[1] / 1_000_000, UTC)

    def close(self) -> None:
        """Close what is open; the next use opens again."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            opened.news.close()
            close_redis(opened.redis)

    @contextmanager
    def reaching(self, consequence: str, *, commands: int = 0) -> Iterator[None]:
        """Turn errors of Redis into streamstop's own, and wait for it no longer than set.

        That time is for all of the block, however many round trips it makes; in a block in such a block, the outer's
        holds. `commands` is how many the call brings: each has a little time of its own.
        """
        with at_most(self.settings.timeout + commands * _EACH), self.following(consequence):
            yield

    @contextmanager
    def following(self, consequence: str) -> Iterator[None]:
        """Turn errors of Redis into streamstop's own; for what waits as long as it is told.

        They are :class:`~streamstop.errors.QueueUnavailable`, and :class:`~streamstop.errors.InternalError` for a bug.
        Each round trip has the time that is set.
        """
        try:
            yield
        except ERRORS as error:
            raise failure(error, consequence=consequence, refused="nothing was changed") from error

    def publish(self, queued: Sequence[Queued], *, perhaps: str) -> None:
        """Put messages into their lanes, all of them or none, and see to it that the replicas have them.

        `perhaps` is the consequence where Redis does not say whether it has accepted them.
        """
        publisher = self._opened().publisher
        if len(queued) <= AT_ONCE:
            with self.following(perhaps):
                confirmations = publisher.put(queued)
        else:
            batch = publisher.stage(queued)
            with self.following(perhaps):
                confirmations = publisher.accept(batch, len(queued))
            publisher.spread(batch)
        self._check_confirmed(confirmations, "it was enqueued", "enqueueing again is harmless")

    @contextmanager
    def confirmed(self, done: str, again: str) -> Iterator[Rooms]:
        """Give the rooms, and end when the replicas that are asked for have what was written to them in the block.

        Raises :class:`~streamstop.errors.QueueUnavailable` where they have not in time, with what was `done`.
        """
        opened, replicas = self._opened(), self.settings.replicas
        if not replicas:
            yield opened.rooms
            return
        redis: Any = opened.redis  # redis-py gives what follows no types
        with redis.client() as one:  # one connection: Redis waits for what its own has written
            yield Rooms(one, opened.lanes, self._rooms)
            try:
                confirmations = one.execute_command("WAIT", replicas, self._patience_ms())
            except ERRORS as error:
                confirmations = error
            self._check_confirmed(confirmations, done, again)

    def _patience_ms(self) -> int:
        """Return how long Redis shall wait for replicas, so that its answer comes within the call's time."""
        return max(1, int(left(self.settings.timeout) / timedelta(milliseconds=1) * 0.7))

    def _check_confirmed(self, replicas: int | Exception, done: str, again: str) -> None:
        """Raise where fewer than are asked for have confirmed, or Redis did not say how many."""
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
                lanes = LeastPrivilegeLanes(redis)
                rooms = Rooms(redis, lanes, self._rooms)
                publisher = Publisher(redis, self.settings.replicas, self._patience_ms)
                letters = DeadLetterStore(redis, lanes)
                news = News(redis, self.settings.timeout)
                self._open = _Open(redis, lanes, KnownAccounts(redis), rooms, letters, publisher, news)
            return self._open


def _forget_after_fork(connections: Connections) -> None:
    """Give a forked child connections of its own; its parent's sockets are not its to use or to close."""
    reference = weakref.ref(connections)

    def forget() -> None:
        if (alive := reference()) is not None:
            alive._lock = threading.Lock()  # noqa: SLF001
            alive._open = None  # noqa: SLF001

    os.register_at_fork(after_in_child=forget)
