"""Headers: what every answer says to browsers and caches."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from streamstop_server.http.middleware import Middleware

#: Scripts, styles and images come from the service alone; nothing may be written into a page, nor frame it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Headers(Middleware):
    """Middleware that adds the headers. An answer may be kept by no cache, unless it says otherwise."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(MutableHeaders(scope=message), scope["scheme"])
            await send(message)

        await self.app(scope, receive, sending)


def add_headers(headers: MutableHeaders, scheme: str) -> None:
    """Add what every answer says. The answer to an unexpected error does not pass the middleware."""
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    if "cache-control" not in headers or headers.get("content-type", "").startswith("text/event-stream"):
        headers["Cache-Control"] = "no-store"
    if scheme == "https":
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
