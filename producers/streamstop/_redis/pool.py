"""Redis pool: the connections that the settings describe, opened by redis-py alone."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from redis import ConnectionPool, Redis, connection, sentinel
from redis.connection import AbstractConnection

from streamstop._redis.deadline import install_deadline
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings

_SENTINEL_PORT = 26379
#: redis-py gives these no types.
_parse_url: Any = connection.parse_url
_Sentinel: Any = sentinel.Sentinel


def open_redis(settings: RedisSettings) -> Redis:
    """Return a client with a pool of its own; nothing is connected before the first command.

    No command is retried: a script that ran although its reply was lost would publish a message twice.

    Raises :class:`~streamstop.errors.InvalidSettings` where the url has an option that redis-py does not know.
    """
    try:
        pool = _pool(settings)
        pool.connection_class(**pool.connection_kwargs)  # connects nothing, and refuses unknown options
    except (TypeError, ValueError):  # the message may quote the url
        raise InvalidSettings("STREAMSTOP_REDIS_URL has an option after its ? that redis-py does not take") from None
    return install_deadline(Redis(connection_pool=pool))


def close_redis(redis: Redis) -> None:
    """Close the idle connections, those to the sentinels included. One that is in use is closed after its command."""
    pool: Any = redis.connection_pool  # redis-py does not type what a pool for sentinels has
    pools = [pool]
    if isinstance(pool, sentinel.SentinelConnectionPool):
        pools += [one.connection_pool for one in pool.sentinel_manager.sentinels]
    for one in pools:
        one.release = partial(_close_and_release, one.release)
        one.disconnect(inuse_connections=False)


def _close_and_release(release: Callable[[AbstractConnection], None], connection: AbstractConnection) -> None:
    """Return a connection to a pool that has been closed, such as that of a command that was running in a thread."""
    connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py gives it no types
    release(connection)


def _pool(settings: RedisSettings) -> ConnectionPool:
    timeout_s = settings.timeout.total_seconds()
    sockets: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
    }
    if settings.master is not None:
        return _sentinel_pool(settings, settings.master, sockets)
    options: dict[str, Any] = sockets | _parse_url(settings.url)
    if "ssl_cert_reqs" in options:  # Celery's names are longer than redis-py's
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    return ConnectionPool(**options)


def _sentinel_pool(settings: RedisSettings, master: str, sockets: dict[str, Any]) -> ConnectionPool:
    """Return a pool for the Redis that the sentinels name.

    The first address has the password and the database of that Redis. The sentinels are asked without a password.
    """
    addresses = [urlsplit(url) for url in settings.url.split(";")]
    sentinels = [(address.hostname or "localhost", address.port or _SENTINEL_PORT) for address in addresses]
    first = _parse_url(settings.url.split(";")[0].replace("sentinel://", "redis://", 1))
    of_master = {name: first[name] for name in ("username", "password", "db") if name in first}
    manager = _Sentinel(sentinels, sentinel_kwargs=settings.sentinel_options, **sockets, **of_master)
    pool: ConnectionPool = manager.master_for(master).connection_pool
    return pool
