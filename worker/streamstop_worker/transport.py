"""Transport: sends a signed request over HTTP, and returns the response or a fault. No other module speaks HTTP.

The duration of :meth:`Transport.send` and the number of bytes that it reads are bounded, whatever the server does. It
follows no redirect, uses no cookie or proxy, retries nothing, and adds only the length and two headers to a request.
"""

import asyncio
import zlib
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from typing import cast

import httpx

from streamstop.operations import Meaning
from streamstop_worker.aiohttp_adapter import AiohttpTransport, Progress
from streamstop_worker.vendors.protocol import Answer, Request, Response

#: The most bytes of a body, before and after decompression. A vendor's longest reply is a page of a listing.
LONGEST_BODY = 1024 * 1024
#: How long connections may take to close.
_CLOSE_TIMEOUT = timedelta(seconds=2)

# "identity" requests plain bodies. Only a server that ignores this makes us decompress.
_OUR_HEADERS = {"accept-encoding": "identity", "user-agent": f"streamstop/{version('streamstop')}"}


class TransportFault(Exception):
    """No complete response arrived. :attr:`answer` describes this like a vendor's transient answer, with a code."""

    def __init__(self, code: str, message: str, *, sent_at: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.answer = Answer(Meaning.TRANSIENT, code, message)
        #: When the request was written, by the monotonic clock in s. None: the vendor has received no byte of it.
        self.sent_at = sent_at


class Transport:
    """The connections of an event loop. Create it inside the loop. It verifies TLS certificates.

    `timeout` bounds a whole call: the wait for a free connection, the lookup of the host, the connection (3 s at most),
    the request, and the response to its last byte. `concurrency` is the number of connections. Tests pass their own
    `transport`. Its calls have the same bounds on time and size, but no :attr:`Response.sent_at`.
    """

    def __init__(self, timeout: timedelta, concurrency: int, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._timeout = timeout
        self._transport = transport or AiohttpTransport(concurrency)

    async def send(self, request: Request) -> Response:
        """Send `request` once and unchanged. Return redirects as they are, and decompress bodies.

        A reused connection that the server has closed is a fault too. The request is not sent again, because the server
        may have received it. If no byte was written, the fault's `sent_at` is None.

        Raises :class:`TransportFault`: ``PoolTimeout``, ``ConnectTimeout``, ``ConnectError``, ``WriteTimeout``,
        ``WriteError``, ``ReadTimeout``, ``ReadError``, ``RemoteProtocolError``, ``LocalProtocolError``,
        ``UnsupportedProtocol``, ``BodyTooLarge``, ``BadEncoding``, ``InvalidURL``.
        """
        seconds = self._timeout.total_seconds()
        deadline = asyncio.timeout(seconds)
        progress = Progress(deadline, asyncio.get_running_loop().time() + seconds)
        try:
            async with deadline:
                return await _exchange(self._transport, request, progress)
        except (TimeoutError, httpx.TransportError, httpx.InvalidURL, UnicodeError, zlib.error, _BodyTooLarge) as error:
            code, message = _describe_fault(error, progress, seconds)
        # Outside of the except block, so that the fault has no context: the error beneath it holds the request.
        if code != "InvalidURL":
            message = f"{request.host}: {message}"
        raise TransportFault(code, message, sent_at=progress.sent_at)

    async def close(self) -> None:
        """Close every connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT.total_seconds()):
                await self._transport.aclose()


class _BodyTooLarge(Exception):
    """A body is longer than LONGEST_BODY."""


def _describe_fault(error: Exception, progress: Progress, seconds: float) -> tuple[str, str]:
    """Return the code and the text of a fault. The text contains nothing that was sent or received."""
    late = progress.late if isinstance(error, TimeoutError) else type(error)
    match error:
        case TimeoutError() | httpx.TimeoutException():
            missing = {"ConnectTimeout": "connection in time", "PoolTimeout": f"free connection within {seconds:g} s"}
            return late.__name__, f"no {missing.get(late.__name__, f'whole response within {seconds:g} s')}"
        case httpx.LocalProtocolError() | UnicodeError():
            # The error's text repeats the invalid header, which may be the one with the token.
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
        body = await _read(response)
        return Response(response.status_code, dict(response.headers), body, progress.sent_at, request.secrets)
    finally:
        await response.aclose()


async def _read(response: httpx.Response) -> bytes:
    # Not with httpx's decoders: they decompress a whole chunk, and 64 KiB of gzip can become 64 MiB.
    compressed = response.headers.get("content-encoding", "").strip().lower() in {"gzip", "x-gzip", "deflate"}
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if compressed else None
    body = bytearray()
    received = 0
    # The response of an asynchronous transport always has an asynchronous stream.
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        received += len(chunk)
        body += inflater.decompress(chunk, LONGEST_BODY + 1 - len(body)) if inflater else chunk
        if max(received, len(body)) > LONGEST_BODY:
            raise _BodyTooLarge
    return bytes(body)
