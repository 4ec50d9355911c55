"""Connections: what a client holds once it is used. Made in one process, never carried into another."""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # newer than its types
from redis import Redis

from streamstop.dead import Letters
from streamstop.errors import QueueUnavailable
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import UNREACHABLE, Lanes
from streamstop.rooms import Rooms
from streamstop.settings import RedisSettings, RoomSettings

#: What a call raises where Redis cannot be reached, through Celery or without it.
LOST = (*UNREACHABLE, OperationalError)


@dataclass(frozen=True)
class _Open:
    """Connections that are open: pools, shared by all threads."""

    app: Celery
    redis: Redis
    lanes: Lanes
    known_accounts: KnownAccounts
    rooms: Rooms
    dead: Letters


class Connections:
    """The connections of one client: opened at the first use, and anew in a forked child."""

    def __init__(self, settings: RedisSettings, rooms: RoomSettings) -> None:
        self.settings = settings
        self._rooms = rooms
        self._lock = threading.Lock()
        self._open: _Open | None = None
        _forget_after_fork(self)

    @property
    def app(self) -> Celery:
        """The Celery app that publishes."""
        return self._opened().app

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
    def dead(self) -> Letters:
        """The dead letters."""
        return self._opened().dead

    def now(self) -> datetime:
        """Return the moment by Redis' clock."""
        reply: Any = self.redis.time()
        return datetime.fromtimestamp(reply[0] + reply[1] / 1_000_000, UTC)

    def close(self) -> None:
        """Close what is open; the next use opens again."""
        with self._lock:
            if self._open is not None:
                self._open.redis.close()
                self._open.app.close()
                self._open = None

    @contextmanager
    def reaching(self, consequence: str) -> Iterator[None]:
        """Turn an error of the connection to Redis into :class:`~streamstop.errors.QueueUnavailable`."""
        try:
            yield
        except BatchPublishError as error:
            raise QueueUnavailable(f"Redis did not answer: {consequence}") from error
        except LOST as error:
            raise QueueUnavailable(f"Redis did not answer ({type(error).__name__}): {consequence}") from error

    def _opened(self) -> _Open:
        with self._lock:
            if self._open is None:
                app = Celery("streamstop.client", set_as_current=False)
                app.conf.update(self.settings.celery_options())
                backend: Any = app.backend  # the Redis backend; its types know only the base
                redis: Redis = backend.client
                lanes = Lanes(redis)
                rooms = Rooms(redis, lanes, self._rooms)
                self._open = _Open(app, redis, lanes, KnownAccounts(redis), rooms, Letters(redis, lanes))
            return self._open


def _forget_after_fork(connections: Connections) -> None:
    """Give a forked child connections of its own; its parent's sockets are not its to use or to close."""
    reference = weakref.ref(connections)

    def forget() -> None:
        if (alive := reference()) is not None:
            alive._lock = threading.Lock()  # noqa: SLF001
            alive._open = None  # noqa: SLF001

    os.register_at_fork(after_in_child=forget)
