"""The only place that talks HTTP: sends a signed request as it is, and returns what came back or a fault.

One rule: whatever the other side does, :meth:`Transport.send` is over when the time is up, and what it read is bounded.
It takes no redirect, cookie or proxy, retries nothing, and adds nothing to a request but the lengths and two headers.
"""

import asyncio
import zlib
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from typing import cast

import httpx

from streamstop.operations import Meaning
from streamstop_worker.aiohttp_adapter import AiohttpTransport, Progress
from streamstop_worker.vendors.protocol import Answer, Request, Response

#: Bytes of a body, before and after decompression; a vendor's longest reply is a page of a listing.
LONGEST_BODY = 1024 * 1024
#: How long connections get to close.
_CLOSE_TIMEOUT = timedelta(seconds=2)

# Plain bodies are asked for, so that nothing but a server that compresses unasked is inflated here.
_OUR_HEADERS = {"accept-encoding": "identity", "user-agent": f"streamstop/{version('streamstop')}"}


class TransportFault(Exception):
    """No whole response came; :attr:`answer` says so in the words of a vendor's answer: transient, with a code."""

    def __init__(self, code: str, message: str, *, sent_at: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.answer = Answer(Meaning.TRANSIENT, code, message)
        #: When the request was written, by the monotonic clock in s. None: the vendor cannot have got any of it.
        self.sent_at = sent_at


class Transport:
    """The connections of an event loop, made inside it. TLS certificates are verified.

    `timeout` bounds a whole call: the wait for a connection, the host's name, the connection (3 s at most), and the
    request and the response to its last byte. `concurrency` is how many calls can have a connection at once.
    `transport` is the test seam: its calls have the bounds on time and size, and no :attr:`Response.sent_at`.
    """

    def __init__(self, timeout: timedelta, concurrency: int, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._timeout = timeout
        self._transport = transport or AiohttpTransport(concurrency)

    async def send(self, request: Request) -> Response:
        """Send `request` once, as it is. Redirects come back as they are, and bodies decompressed.

        A kept connection that the server has closed is a fault as well, and nothing is sent again: whether the request
        came before the end cannot be seen from here. Only where no byte was written, `sent_at` says so.

        Raises :class:`TransportFault`: ``PoolTimeout``, ``ConnectTimeout``, ``ConnectError``, ``WriteTimeout``,
        ``WriteError``, ``ReadTimeout``, ``ReadError``, ``RemoteProtocolError``, ``LocalProtocolError``,
        ``UnsupportedProtocol``, ``BodyTooLarge``, ``BadEncoding``, ``InvalidURL``.
        """
        seconds = self._timeout.total_seconds()
        # Not by httpx.URL: it would stand in this frame, and shows the query.
        host = request.url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
        deadline = asyncio.timeout(seconds)
        progress = Progress(deadline, asyncio.get_running_loop().time() + seconds)
        try:
            async with deadline:
                response = await _exchange(self._transport, request, progress)
            return replace(response, sent_at=progress.sent_at, secrets=request.secrets)
        except (TimeoutError, httpx.TransportError, httpx.InvalidURL, UnicodeError, zlib.error, _BodyTooLarge) as error:
            code, message = _told(error, progress, seconds)
        # Outside, so that the fault has no context: the errors beneath it hold the request.
        if code != "InvalidURL":
            message = f"{host}: {message}"
        raise TransportFault(code, message, sent_at=progress.sent_at)

    async def close(self) -> None:
        """Close every connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT.total_seconds()):
                await self._transport.aclose()


class _BodyTooLarge(Exception):
    """A body is longer than anything that a vendor sends."""


def _told(error: Exception, progress: Progress, seconds: float) -> tuple[str, str]:
    """Return the code and the text of a fault, with nothing in it of what was sent or received."""
    late = progress.late if isinstance(error, TimeoutError) else type(error)
    match error:
        case TimeoutError() | httpx.TimeoutException():
            missing = {"ConnectTimeout": "connection in time", "PoolTimeout": f"free connection within {seconds:g} s"}
            return late.__name__, f"no {missing.get(late.__name__, f'whole response within {seconds:g} s')}"
        case httpx.LocalProtocolError() | UnicodeError():
            # Its text repeats the header that is wrong, and that may be the one with the token.
            return "LocalProtocolError", "the request is not valid HTTP"
        case httpx.InvalidURL():
            return "InvalidURL", "the address cannot be read"
        case zlib.error():
            return "BadEncoding", "the body cannot be decompressed"
        case _BodyTooLarge():
            return "BodyTooLarge", f"the body is longer than {LONGEST_BODY} bytes"
    return type(error).__name__, str(error)[:200]


async def _exchange(transport: httpx.AsyncBaseTransport, request: Request, progress: Progress) -> Response:
    response = await transport.handle_async_request(
        httpx.Request(
            request.method,
            request.url,
            headers={**_OUR_HEADERS, **request.headers},
            content=request.body,
            extensions={"progress": progress},
        )
    )
    try:
        return Response(response.status_code, dict(response.headers), await _read(response))
    finally:
        await response.aclose()


async def _read(response: httpx.Response) -> bytes:
    # Not httpx's own decoders: they inflate a chunk whole, and 64 KiB of gzip can be 64 MiB of zeros.
    compressed = response.headers.get("content-encoding", "").strip().lower() in {"gzip", "x-gzip", "deflate"}
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if compressed else None
    body = bytearray()
    received = 0
    # An asynchronous transport's response has no other stream.
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        received += len(chunk)
        body += inflater.decompress(chunk, LONGEST_BODY + 1 - len(body)) if inflater else chunk
        if max(received, len(body)) > LONGEST_BODY:
            raise _BodyTooLarge
    return bytes(body)
