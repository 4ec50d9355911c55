"""Settings of the HTTP service: environment variables, which the options of ``streamstop-server`` set."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from streamstop._core.loopback import is_loopback
from streamstop.errors import InvalidSettings
from streamstop.settings import one_of, seconds

#: The shortest secret that signs sessions.
_SHORTEST_SECRET = 32


@dataclass(frozen=True)
class ServerSettings:
    """How the service is served."""

    host: str
    #: The tokens file; None: everybody on this machine may do everything, and nobody else may connect.
    tokens: Path | None
    #: Signs the cookies of the page. Processes that share it accept each other's sessions.
    secret: str = field(repr=False)
    #: Origins whose pages may call the API from a browser.
    origins: tuple[str, ...] = ()
    #: How long requests in progress may go on after SIGTERM. Streams and long polls end at once.
    grace: timedelta = timedelta(seconds=25)
    log_level: str = "INFO"
    #: ``json``, ``logfmt``, ``text``, or ``auto``: text on a terminal, JSON elsewhere.
    log_format: str = "auto"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``STREAMSTOP_SERVER_…`` (host, tokens, secret, origins, grace), and ``STREAMSTOP_LOG_…``.

        Raises :class:`~streamstop.errors.InvalidSettings`; no secret is in its text.
        """
        host = environ.get("STREAMSTOP_SERVER_HOST") or "127.0.0.1"
        tokens = environ.get("STREAMSTOP_SERVER_TOKENS")
        if not tokens and not is_loopback(host):
            raise InvalidSettings(
                f"without a tokens file the service listens on loopback alone, not on {host}: "
                f"make one with `streamstop token new`, and name it with --tokens or STREAMSTOP_SERVER_TOKENS"
            )
        secret = environ.get("STREAMSTOP_SERVER_SECRET") or secrets.token_urlsafe(32)
        if len(secret) < _SHORTEST_SECRET:
            raise InvalidSettings(f"STREAMSTOP_SERVER_SECRET must have at least {_SHORTEST_SECRET} characters")
        origins = tuple(
            filter(None, (text.strip() for text in environ.get("STREAMSTOP_SERVER_ORIGINS", "").split(",")))
        )
        for origin in origins:
            _check_origin(origin)
        return cls(
            host=host,
            tokens=Path(tokens) if tokens else None,
            secret=secret,
            origins=origins,
            log_level=one_of(environ, "STREAMSTOP_LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR"),
            log_format=one_of(environ, "STREAMSTOP_LOG_FORMAT", "auto", "json", "text", "logfmt"),
            grace=seconds(environ, "STREAMSTOP_SERVER_GRACE", default=25, most=3600),
        )


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in {"http", "https"} or not parts.hostname or f"{parts.scheme}://{parts.netloc}" != origin:
        raise InvalidSettings(
            f"STREAMSTOP_SERVER_ORIGINS must name origins such as https://ops.example.com, not {origin!r}"
        )
