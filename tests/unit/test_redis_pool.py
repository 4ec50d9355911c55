"""The producers' pool: redis-py reaches the Redis that Celery reaches with the same url."""

from typing import Any

import pytest
from celery import Celery
from redis.connection import SSLConnection
from redis.sentinel import SentinelConnectionPool

from streamstop._redis.pool import close_redis, open_redis
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings
from streamstop_worker.settings import celery_options

#: What both must have alike: which server, as whom, and with which checks.
ALIKE = (
    *("host", "port", "db", "username", "password", "socket_timeout", "socket_connect_timeout", "socket_keepalive"),
    *("max_connections", "health_check_interval", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"),
)
DEFAULTS = {"host": "localhost", "port": 6379, "db": 0}


def settings(url: str, **environ: str) -> RedisSettings:
    return RedisSettings.from_environ({"STREAMSTOP_REDIS_URL": url, "STREAMSTOP_REDIS_MASTER": "lanes", **environ})


def pools(made: RedisSettings) -> tuple[Any, Any]:
    """Return our pool and the one of Celery's result backend."""
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_options(made))
    backend: Any = app.backend
    return open_redis(made).connection_pool, backend.client.connection_pool


def shared(pool: Any) -> dict[str, Any]:
    options = {name: pool.connection_kwargs.get(name) for name in ALIKE}
    return {name: DEFAULTS.get(name) if value is None else value for name, value in options.items()}


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://localhost",
        "redis://h:1/7",
        "redis://:p%40ss%3A%25@h:1/0",
        "redis://user:secret@h/2",
        "redis://[::1]:6380/1",
        "redis://h?db=4",
        "redis://h/0?socket_timeout=2.5&health_check_interval=9&max_connections=3",
        "rediss://h:1/0",
        "rediss://:secret@h:1/0?ssl_cert_reqs=none",
        "rediss://h/0?ssl_cert_reqs=CERT_OPTIONAL&ssl_ca_certs=%2Fetc%2Fca.pem&ssl_check_hostname=false",
        "rediss://h/0?ssl_ca_certs=/ca.pem&ssl_certfile=/me.pem&ssl_keyfile=/me.key",
        "sentinel://h1:1/3;sentinel://h2:2/3",
        "sentinel://user:secret@h1:1/0;sentinel://:other@h2:2/0",
    ],
)
def test_a_url_means_to_redis_py_what_it_means_to_celery(url: str) -> None:
    ours, celerys = pools(settings(url))
    assert shared(ours) == shared(celerys)
    assert issubclass(ours.connection_class, celerys.connection_class)
    connection, theirs = (pool.connection_class(**pool.connection_kwargs) for pool in (ours, celerys))
    assert connection.retry.get_retries() == theirs.retry.get_retries() == 0
    if isinstance(connection, SSLConnection):
        assert (connection.cert_reqs, connection.check_hostname) == (theirs.cert_reqs, theirs.check_hostname)


def test_the_sentinels_are_those_that_celery_asks() -> None:
    made = settings("sentinel://:secret@h1:1/0;sentinel://h2:2/0", STREAMSTOP_REDIS_TIMEOUT="3")
    ours, celerys = pools(made)
    assert isinstance(ours, SentinelConnectionPool)
    assert ours.service_name == celerys.service_name == "lanes"
    asked, theirs = (
        [(one.connection_pool.connection_kwargs, one.connection_pool.connection_class) for one in sentinels]
        for sentinels in (ours.sentinel_manager.sentinels, celerys.sentinel_manager.sentinels)
    )
    for (options, kind), (their_options, their_kind) in zip(asked, theirs, strict=True):
        assert kind is their_kind
        for name in ("host", "port", "password", "socket_timeout", "socket_connect_timeout", "retry"):
            assert options.get(name) == their_options.get(name), name
    assert [options["socket_timeout"] for options, _ in asked] == [1.5, 1.5]
    close_redis(open_redis(made))


def test_a_sentinel_without_a_port_listens_on_26379() -> None:
    pool: Any = open_redis(settings("sentinel://h")).connection_pool
    (sentinel,) = pool.sentinel_manager.sentinels
    assert sentinel.connection_pool.connection_kwargs["port"] == 26379


@pytest.mark.parametrize("url", ["redis://", "rediss://h", "sentinel://h"])
def test_a_connection_does_not_name_its_library(url: str) -> None:
    pool = open_redis(settings(url)).connection_pool
    connection: Any = pool.connection_class(**pool.connection_kwargs)
    assert connection.driver_info is None


@pytest.mark.parametrize(
    "url", ["redis://h?colour=s3cret", "redis://h?ssl_ca_certs=/s3cret", "redis://h?max_connections=s3cret"]
)
def test_an_option_that_redis_py_does_not_take_is_a_mistake(url: str) -> None:
    with pytest.raises(InvalidSettings, match="STREAMSTOP_REDIS_URL has an option") as raised:
        open_redis(settings(url))
    assert "s3cret" not in str(raised.value)


def test_the_name_of_a_master_does_not_matter_without_sentinels() -> None:
    assert settings("redis://h").master is None
    assert "master_name" not in celery_options(settings("redis://h"))["broker_transport_options"]
