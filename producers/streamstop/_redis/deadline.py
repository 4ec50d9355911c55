"""Bounded: how long one call waits for Redis in all, and what a connection that was lost takes with it."""

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import redis
from redis import Redis
from redis.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool

from streamstop._redis.errors import ERRORS, error_code, note_where

#: The options by which a connection tells Redis what library it is of; older versions of redis-py have two.
_DRIVER_INFO = ("driver_info",) if hasattr(redis, "DriverInfo") else ("lib_name", "lib_version")
#: The least that a socket is given, in s: nothing would make it a socket that never waits.
_LEAST_S = 0.001

#: The moment, by the monotonic clock, at which the call that runs has waited long enough; None: each step by itself.
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def at_most(timeout: timedelta) -> Iterator[None]:
    """Let everything in the block wait for Redis for `timeout` in all; in a block in such a block, the outer holds.

    Not around a ``yield`` of a generator: what its caller does between two steps would be bounded too.
    """
    if _deadline.get() is not None:
        yield
        return
    token = _deadline.set(time.monotonic() + timeout.total_seconds())
    try:
        yield
    finally:
        _deadline.reset(token)


def left(most: timedelta) -> timedelta:
    """Return how long the call that runs may still wait, `most` where it is not bounded."""
    deadline = _deadline.get()
    return most if deadline is None else max(timedelta(0), timedelta(seconds=deadline - time.monotonic()))


def bound(client: Redis) -> Redis:
    """Make the connections that `client` opens from now on keep to :func:`at_most`; return it.

    One that is lost, or that leads to a replica, takes the idle ones of its pool with it: they lead to the same place,
    and each would be an error of its own.
    """
    pool = client.connection_pool
    for unsaid in _DRIVER_INFO:
        pool.connection_kwargs[unsaid] = None  # a round trip each, and a command that a Redis user needs not have
    parts = {"pool": weakref.ref(pool)}
    pool.connection_class = type("BoundedConnection", (_Bounded, pool.connection_class), parts)
    return client


class _Bounded(Connection):
    """A connection whose every step ends with the call's time."""

    pool: weakref.ref[ConnectionPool]
    _is_stale = False
    _socket_timeout: float | None
    _socket_connect_timeout: float | None

    @property
    def socket_timeout(self) -> float | None:
        """How long one step may take, in s."""
        return _within(self._socket_timeout)

    @socket_timeout.setter
    def socket_timeout(self, value: float | None) -> None:
        self._socket_timeout = value

    @property
    def socket_connect_timeout(self) -> float | None:
        """How long connecting may take, in s."""
        return _within(self._socket_connect_timeout)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def activate_maint_notifications_handling_if_enabled(self, check_health: bool = True) -> None:
        """Do without: they are Redis Enterprise's, and asking for them is one more command."""

    def connect(self) -> None:
        """Connect where that is needed; the pool asks for it before each use."""
        if self._is_stale:
            self._is_stale = False
            self.disconnect()  # type: ignore[no-untyped-call]  # redis-py gives it no types
        try:
            super().connect()  # type: ignore[no-untyped-call]
        except ERRORS as error:
            note_where(error, self._where(error))
            raise

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command."""
        self._set_timeout()
        try:
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
        except RedisError as error:
            self._judge(error)
            raise

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply. Raises what Redis answered, or that it did not."""
        if "timeout" not in options:
            self._set_timeout()
        try:
            return super().read_response(*arguments, **options)
        except RedisError as error:
            self._judge(error)
            raise

    def _set_timeout(self) -> None:
        sock: Any = self._sock
        if sock is not None:
            sock.settimeout(self.socket_timeout)

    def _judge(self, error: RedisError) -> None:
        """Note what an error says of the connection, and of those beside it, and where the connection leads."""
        note_where(error, self._where(error))
        is_replica = error_code(error) == "READONLY"
        self._is_stale |= is_replica
        if (is_replica or isinstance(error, ConnectionLost | RedisTimeout)) and (pool := self.pool()) is not None:
            pool.disconnect(inuse_connections=False)

    def _where(self, error: BaseException) -> str:
        """Return which server this connection leads to: host, port and database, and the master behind sentinels."""
        database = f"database {self.db}"
        pool: Any = self.pool()  # redis-py does not type what a pool for sentinels has
        if not isinstance(pool, SentinelConnectionPool):
            return f"{_address(self.host, self.port)}, {database}"
        options = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
        sentinels = ", ".join(sorted(_address(each["host"], each["port"]) for each in options))
        behind = f"sentinels {sentinels}, master {pool.service_name}, {database}"
        if isinstance(error, MasterNotFoundError) or pool.master_address is None:
            return behind
        return f"{_address(*pool.master_address)}, named by {behind}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _within(own: float | None) -> float | None:
    """Return a socket's own timeout, in s, or what is left for the call that runs."""
    deadline = _deadline.get()
    if deadline is None:
        return own
    remaining = max(_LEAST_S, deadline - time.monotonic())
    return remaining if own is None else min(own, remaining)
