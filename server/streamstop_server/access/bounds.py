"""Bounds: the size and time of a request's body, and how often somebody may fail to sign in."""

import asyncio
import time
from collections import OrderedDict, deque

from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from streamstop_server.access.auth import authenticator, check_token
from streamstop_server.http.middleware import Middleware
from streamstop_server.http.problems import Problem

#: The largest body, in bytes: 10,000 commands fit.
LARGEST_BODY = 16 * 1024 * 1024
#: The largest body of a form, and of a request without a known token, which is parsed before it is refused.
LARGEST_FORM = 64 * 1024
#: How long a body may take to arrive, in seconds.
SLOWEST_BODY_S = 30.0
#: So many wrong tokens may come from one address within a minute.
MOST_FAILURES = 10
_WITHIN_S = 60.0
#: Of so many addresses the failures are remembered.
_MOST_ADDRESSES = 10_000


class _BodyProblem(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class BodyBounds(Middleware):
    """Middleware that ends a request whose body is too large (413), too slow (408) or not JSON (415, for the API)."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        length = headers.get(b"content-length", b"0")
        has_body = length != b"0" or b"transfer-encoding" in headers
        is_api = scope["path"].startswith("/v1/")
        largest = LARGEST_BODY if is_api else LARGEST_FORM
        try:
            is_large = b"transfer-encoding" in headers or (length.isdigit() and int(length) > LARGEST_FORM)
            if is_api and is_large:
                _check_token(HTTPConnection(scope))
            if length.isdigit() and int(length) > largest:
                raise _too_large(largest)
            if has_body and is_api and not _is_json(headers.get(b"content-type", b"")):
                raise Problem(415, "unsupported-media-type", "the body must be application/json")
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        has_started = False

        async def noting(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, _bounded(receive, largest), noting)
        except _BodyProblem as bound:
            if not has_started:
                await bound.problem.response()(scope, receive, send)


def _bounded(receive: Receive, largest: int) -> Receive:
    received, deadline, is_whole = 0, asyncio.get_running_loop().time() + SLOWEST_BODY_S, False

    async def bounded() -> Message:
        nonlocal received, is_whole
        if is_whole:
            return await receive()  # for the end of the connection
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            slow = Problem(408, "request-timeout", f"the body did not arrive within {SLOWEST_BODY_S:g} s")
            raise _BodyProblem(slow) from None
        received += len(message.get("body", b""))
        if received > largest:
            raise _BodyProblem(_too_large(largest))
        is_whole = not message.get("more_body", False)
        return message

    return bounded


def _check_token(connection: HTTPConnection) -> None:
    if authenticator(connection).tokens is not None:
        scheme, token = get_authorization_scheme_param(connection.headers.get("authorization"))
        check_token(connection, token if scheme.lower() == "bearer" else "")


def _too_large(largest: int) -> Problem:
    return Problem(413, "content-too-large", f"the body must not be larger than {largest} bytes")


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.split(b";")[0].strip().lower()
    return media_type == b"application/json" or media_type.endswith(b"+json")


class Failures:
    """Counts wrong tokens by address, and refuses an address with too many (429)."""

    def __init__(self) -> None:
        self._failed_at: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, connection: HTTPConnection) -> None:
        """Refuse an address from which ten wrong tokens came within the last minute."""
        failures, now = self._failed_at.get(_address(connection), deque()), time.monotonic()
        while failures and now - failures[0] > _WITHIN_S:
            failures.popleft()
        if len(failures) >= MOST_FAILURES:
            wait = int(_WITHIN_S - (now - failures[0])) + 1
            raise Problem(
                429, "too-many-requests", "too many wrong tokens came from here", headers={"Retry-After": str(wait)}
            )

    def count(self, connection: HTTPConnection) -> None:
        """Count a wrong token."""
        address = _address(connection)
        self._failed_at.setdefault(address, deque(maxlen=MOST_FAILURES)).append(time.monotonic())
        self._failed_at.move_to_end(address)
        if len(self._failed_at) > _MOST_ADDRESSES:
            self._failed_at.popitem(last=False)


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
