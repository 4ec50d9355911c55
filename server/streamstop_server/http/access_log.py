"""The access log: one line for each request, with the name of its token, and never a query or a header."""

import time

import structlog
from starlette.types import Message, Receive, Scope, Send

from streamstop_server.http.middleware import Middleware

_log = structlog.get_logger("streamstop.server")
#: Probes are asked every few seconds.
_QUIET = {"/healthz", "/readyz", "/metrics"}


class AccessLog(Middleware):
    """Middleware that logs each request when its answer has ended."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        began, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception:
            status = status or 500  # it is answered outside of the middleware
            raise
        finally:
            caller = scope.get("state", {}).get("caller")
            log = _log.debug if scope["path"] in _QUIET or scope["path"].startswith("/static/") else _log.info
            log(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((time.monotonic() - began) * 1000, 1),
                token=getattr(caller, "name", None),
            )
