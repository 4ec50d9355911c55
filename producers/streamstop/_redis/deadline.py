"""Deadline: limits how long one call waits for Redis in total.

It also closes the idle connections of a pool when one of its connections is lost.
"""

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

#: The options by which a connection sends the library's name to Redis. Older versions of redis-py have two.
_DRIVER_INFO = ("driver_info",) if hasattr(redis, "DriverInfo") else ("lib_name", "lib_version")
#: The shortest timeout of a socket, in s. With 0 the socket would not block at all.
_LEAST_S = 0.001

#: The deadline of the running call, by the monotonic clock. None: each step has the socket's own timeout.
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(timeout: timedelta) -> Iterator[None]:
    """Limit how long the whole block waits for Redis to `timeout`. When nested, the outer deadline applies.

    Do not use it around a ``yield`` of a generator: the time that its caller takes between two steps would count.
    """
    if _deadline.get() is not None:
        yield
        return
    token = _deadline.set(time.monotonic() + timeout.total_seconds())
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining(default: timedelta) -> timedelta:
    """Return how long the running call may still wait; `default` if it has no deadline."""
    ends_at = _deadline.get()
    return default if ends_at is None else max(timedelta(0), timedelta(seconds=ends_at - time.monotonic()))


def install_deadline(client: Redis) -> Redis:
    """Make the connections that `client` opens from now on respect :func:`deadline`; return the client.

    When a connection is lost, or leads to a replica, it closes the idle connections of its pool. They lead to the same
    server, and each of them would raise an error of its own.
    """
    pool = client.connection_pool
    for option in _DRIVER_INFO:
        pool.connection_kwargs[option] = None  # saves a round trip, and a command that Redis may forbid to the user
    attributes = {"pool": weakref.ref(pool)}
    pool.connection_class = type("DeadlineConnection", (_DeadlineMixin, pool.connection_class), attributes)
    return client


class _DeadlineMixin(Connection):
    """A connection whose steps respect the running call's deadline."""

    pool: weakref.ref[ConnectionPool]
    _is_stale = False
    _socket_timeout: float | None
    _socket_connect_timeout: float | None

    @property
    def socket_timeout(self) -> float | None:
        """How long one step may take, in s."""
        return _limited(self._socket_timeout)

    @socket_timeout.setter
    def socket_timeout(self, value: float | None) -> None:
        self._socket_timeout = value

    @property
    def socket_connect_timeout(self) -> float | None:
        """How long connecting may take, in s."""
        return _limited(self._socket_connect_timeout)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def activate_maint_notifications_handling_if_enabled(self, check_health: bool = True) -> None:
        """Do nothing: only Redis Enterprise sends these notifications, and asking for them costs a command."""

    def connect(self) -> None:
        """Connect if the connection is closed or stale. The pool calls this before each use."""
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
            self._handle(error)
            raise

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply. Raises redis-py's errors."""
        if "timeout" not in options:
            self._set_timeout()
        try:
            return super().read_response(*arguments, **options)
        except RedisError as error:
            self._handle(error)
            raise

    def _set_timeout(self) -> None:
        sock: Any = self._sock
        if sock is not None:
            sock.settimeout(self.socket_timeout)

    def _handle(self, error: RedisError) -> None:
        """Name the server in the error. Mark the connection as stale if the error says so, and close the idle ones."""
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


def _limited(timeout: float | None) -> float | None:
    """Return a socket's timeout, in s, limited to the time that is left for the running call."""
    ends_at = _deadline.get()
    if ends_at is None:
        return timeout
    left_s = max(_LEAST_S, ends_at - time.monotonic())
    return left_s if timeout is None else min(timeout, left_s)
