"""A worker's settings, from environment variables. ``docs/reference/settings.md`` lists them."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings, one_of, outcomes_kept, seconds

#: A lease lasts this much longer than a call may take: the call may begin this late.
SPARE = timedelta(seconds=5)
#: The highest value that STREAMSTOP_CONCURRENCY may have.
MOST_CONCURRENCY = 1000

#: Half a minute of silence, then three probes; what a platform does not have is left to it.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of one worker process."""

    #: The TOML file of the accounts.
    accounts: Path
    #: How many jobs may be under way at once. Celery's ``--concurrency`` overrides it.
    concurrency: int
    #: How long one call may take, from the first byte sent to the last received.
    call_timeout: timedelta
    #: In a verified shutdown: how long a stopped task may still run at the vendor before it is stopped again.
    verify_timeout: timedelta
    #: How long Redis keeps a job's outcome.
    outcomes_kept: timedelta
    #: ``json``, ``logfmt``, ``text``, or ``auto``: text on a terminal, JSON elsewhere.
    log_format: str
    log_level: str
    #: The key that signs shutdowns' callbacks to a URL.
    callback_secret: str | None = field(repr=False)
    #: Where the worker serves its metrics; None: nowhere.
    metrics_port: int | None = None
    metrics_host: str = "0.0.0.0"  # noqa: S104  # as other exporters: Prometheus scrapes from another machine

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the variables. Raises :class:`~streamstop.errors.InvalidSettings`, which names the variable."""
        return cls(
            accounts=Path(environ.get("STREAMSTOP_ACCOUNTS") or "accounts.toml"),
            concurrency=_whole_number(environ, "STREAMSTOP_CONCURRENCY", default=256),
            # A lease is longer than a call. A lane takes times over ten minutes ahead for those of a clock set back.
            call_timeout=seconds(environ, "STREAMSTOP_CALL_TIMEOUT", default=10, most=300),
            verify_timeout=seconds(environ, "STREAMSTOP_VERIFY_TIMEOUT", default=30),
            outcomes_kept=outcomes_kept(environ),
            log_format=one_of(environ, "STREAMSTOP_LOG_FORMAT", "auto", "json", "text", "logfmt"),
            log_level=one_of(environ, "STREAMSTOP_LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR"),
            callback_secret=environ.get("STREAMSTOP_CALLBACK_SECRET") or None,
            metrics_port=_port(environ, "STREAMSTOP_METRICS_PORT"),
            metrics_host=environ.get("STREAMSTOP_METRICS_HOST") or cls.metrics_host,
        )

    @property
    def lease(self) -> timedelta:
        """How long after its slot a claimed job may take to report."""
        return self.call_timeout + SPARE


def celery_options(redis: RedisSettings) -> dict[str, Any]:
    """Return the Celery options by which a worker reaches Redis."""
    timeout_s = redis.timeout.total_seconds()
    sentinel: dict[str, Any] = {}
    if redis.master is not None:
        sentinel = {"master_name": redis.master, "sentinel_kwargs": redis.sentinel_options}
    broker: dict[str, Any] = {
        "client_name": client_name(),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # A peer that has gone without a word is noticed: on an idle connection by the kernel, and on the one by
        # which a worker waits for jobs because Redis answers there every second.
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
        "health_check_interval": timeout_s,
        # An answer that a script gave stays given: a retry inside redis-py could publish a message twice.
        "retry_on_timeout": False,
        # Leases do what kombu's acknowledgements would, and survive what these do not.
        "ack_emulation": False,
    }
    return {
        "broker_url": redis.url,
        "broker_transport_options": broker | sentinel,
        "broker_connection_timeout": timeout_s,
        "result_backend": redis.url,
        "result_backend_transport_options": sentinel,
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_serializer": "json",
        "redis_socket_timeout": timeout_s,
        "redis_socket_connect_timeout": timeout_s,
        "redis_socket_keepalive": True,
    }


def client_name() -> str:
    """Return the name by which Redis knows the connection on which this machine's workers wait for jobs."""
    return f"streamstop-worker@{quote(socket.gethostname(), safe='')}"


def _whole_number(environ: Mapping[str, str], name: str, *, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_CONCURRENCY:
        raise InvalidSettings(f"{name} must be a whole number from 1 to {MOST_CONCURRENCY}, not {text!r}")
    return int(text)


def _port(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise InvalidSettings(f"{name} must be a port from 1 to 65535, not {text!r}")
    return int(text)
