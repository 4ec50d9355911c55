"""Settings that producers and workers share: where Redis is, how long to wait for it, and how long outcomes are kept.

Every setting is an environment variable; an argument of :class:`~streamstop.client.Client` goes before it.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from streamstop.errors import InvalidSettings

_SCHEMES = ("redis", "rediss", "sentinel")
#: What Celery takes; anything else is a bare ValueError of its backend.
_CERT_REQS = {"required", "optional", "none", "CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE"}
#: What redis-py takes after the question mark too (username, password, ssl_password), and Celery does not hide there.
_CREDENTIAL = re.compile("user|pass|credential", re.IGNORECASE)


@dataclass(frozen=True)
class RedisSettings:
    """Where the queue is."""

    #: ``redis://``, ``rediss://`` (TLS) or ``sentinel://host:26379;sentinel://…``, as kombu takes them.
    url: str
    #: The name of the master that the sentinels watch; None where the url names no sentinels.
    master: str | None
    #: How long to wait for Redis before an error is raised, over everything that one call asks of it.
    timeout: timedelta
    #: How many replicas must have what a producer's call wrote before it returns.
    replicas: int = 0

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str] = os.environ, *, url: str | None = None, timeout: timedelta | None = None
    ) -> Self:
        """Read ``STREAMSTOP_REDIS_URL``, ``…_MASTER``, ``…_TIMEOUT`` and ``…_REPLICAS``.

        Raises :class:`~streamstop.errors.InvalidSettings`; the url, which may hold a password, is never in it.
        """
        url = url or environ.get("STREAMSTOP_REDIS_URL") or "redis://localhost:6379/0"
        scheme = _scheme(url)
        if scheme not in _SCHEMES:
            allowed = ", ".join(f"{name}://" for name in _SCHEMES)
            instead = f", not {scheme}://" if scheme else ""
            raise InvalidSettings(f"STREAMSTOP_REDIS_URL must start with one of {allowed}{instead}")
        if not all(map(_is_readable, url.split(";"))):
            raise InvalidSettings(
                f"STREAMSTOP_REDIS_URL must be a url such as {scheme}://:password@host:6379/0, "
                "with %-escapes for special characters in the password"
            )
        if not all(map(_shows_no_password, url.split(";"))):
            raise InvalidSettings(
                f"STREAMSTOP_REDIS_URL must have a password only as in {scheme}://:password@host:6379/0 or "
                f"{scheme}://user:password@host:6379/0: Celery hides it nowhere else"
            )
        if scheme == "rediss" and "ssl_cert_reqs=" not in url:
            # Celery's backend wants this said; what its broker and redis-py do unasked is right for both.
            url += f"{'&' if '?' in url else '?'}ssl_cert_reqs=CERT_REQUIRED"
        if not {value for key, value in parse_qsl(urlsplit(url).query) if key == "ssl_cert_reqs"} <= _CERT_REQS:
            raise InvalidSettings("STREAMSTOP_REDIS_URL must have ssl_cert_reqs=required, =optional or =none")
        master = environ.get("STREAMSTOP_REDIS_MASTER") or None if scheme == "sentinel" else None
        if scheme == "sentinel" and master is None:
            raise InvalidSettings("STREAMSTOP_REDIS_MASTER must name the sentinels' master when the url is sentinel://")
        if timeout is None:
            timeout = seconds(environ, "STREAMSTOP_REDIS_TIMEOUT", default=5)
        return cls(url, master, timeout, _count(environ, "STREAMSTOP_REDIS_REPLICAS"))

    def __repr__(self) -> str:
        shown = f"master={self.master!r}, timeout={self.timeout!r}, replicas={self.replicas}"
        return f"RedisSettings(url='{_scheme(self.url)}://…', {shown})"

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """The options of redis-py for the connections to the sentinels."""
        # They are asked one after the other. Unasked, redis-py would try each eleven times before the next.
        each_s = self.timeout.total_seconds() / len(self.url.split(";"))
        return {"socket_timeout": each_s, "socket_connect_timeout": each_s, "retry": None}


@dataclass(frozen=True)
class RoomSettings:
    """How long rooms last."""

    #: How long a room that nobody touches is kept.
    kept: timedelta = timedelta(days=30)
    #: How long after its end a shutdown stops what is registered in its room.
    closed_for: timedelta = timedelta(minutes=10)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``STREAMSTOP_ROOM_KEPT`` and ``STREAMSTOP_ROOM_CLOSED_FOR``, in seconds."""
        return cls(
            kept=seconds(environ, "STREAMSTOP_ROOM_KEPT", default=cls.kept.total_seconds()),
            closed_for=seconds(environ, "STREAMSTOP_ROOM_CLOSED_FOR", default=cls.closed_for.total_seconds()),
        )


#: How long a job's outcome can be read, where nothing else is set; as long as Celery keeps results.
OUTCOMES_KEPT = timedelta(days=1)

#: How long the record of a cancelled job is kept at least: by it, workers tell that a job which still waits is not to
#: be called, and a job may wait for longer than outcomes are kept.
CANCELLED_KEPT = timedelta(days=7)


def outcomes_kept(environ: Mapping[str, str] = os.environ) -> timedelta:
    """Read ``STREAMSTOP_OUTCOMES_KEPT``: how long a job's outcome can be read, in whole seconds.

    A fraction of a second is rounded up, so that it is never zero, which Redis refuses.
    """
    kept = seconds(environ, "STREAMSTOP_OUTCOMES_KEPT", default=OUTCOMES_KEPT.total_seconds())
    return timedelta(seconds=max(1, math.ceil(kept.total_seconds())))


def seconds(environ: Mapping[str, str], name: str, *, default: float, most: float = 1e8) -> timedelta:
    """Read a positive number of seconds, `most` at most, from the variable `name`."""
    text = environ.get(name)
    try:
        value = default if not text else float(text)
        if not 0 < value <= most:
            raise ValueError
    except ValueError:
        allowed = "a positive number of seconds" + (f", {most:g} at most" if most < 1e8 else "")
        raise InvalidSettings(f"{name} must be {allowed}, not {text!r}") from None
    return timedelta(seconds=value)


def one_of(environ: Mapping[str, str], name: str, *allowed: str) -> str:
    """Read a word; the first of `allowed` is the default."""
    text = environ.get(name) or allowed[0]
    if text not in allowed:
        raise InvalidSettings(f"{name} must be one of {', '.join(allowed)}, not {text!r}")
    return text


def _count(environ: Mapping[str, str], name: str) -> int:
    """Read a whole number from the variable `name`; 0 where it is not set."""
    text = environ.get(name) or "0"
    if not text.isascii() or not text.isdigit() or int(text) > 100:
        raise InvalidSettings(f"{name} must be a whole number from 0 to 100, not {text!r}")
    return int(text)


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return url.partition("://")[0] if url.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)) else ""


def _shows_no_password(url: str) -> bool:
    """Return whether Celery, asked for its settings, shows `url` without its secrets: it hides the password alone."""
    parts = urlsplit(url)
    names = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return not any(map(_CREDENTIAL.search, names)) and (parts.username in {None, ""} or bool(parts.password))


def _is_readable(url: str) -> bool:
    """Return whether a url has a host, a port and a database as redis-py and kombu read them.

    An unescaped ``#`` or ``?`` in a password would make its beginning the host or the port, which messages name.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its message may quote a part of the password
        return False
    if "#" in url or "@" in parts.query:
        return False
    database = parts.path.strip("/")
    return not database or (database.isascii() and database.isdigit())
