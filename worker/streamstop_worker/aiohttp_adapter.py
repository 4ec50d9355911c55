"""httpx requests over aiohttp's connections. httpx's own asynchronous pool costs several times the CPU of this one.

Not the package httpx-aiohttp: it re-quotes a signed query, sends aiohttp's own headers, and lets aiohttp repeat a GET.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

CONNECT_TIMEOUT = timedelta(seconds=3)
#: Shorter than the minute after which common load balancers close a connection that idles.
KEEPALIVE = timedelta(seconds=30)
#: Bytes of the status line, and of a header's line. aiohttp's own limits, written down because a test holds them.
LONGEST_LINE = 8190
MOST_HEADERS = 128

# What aiohttp adds unless it is told not to. Host and Content-Length are httpx's.
_AUTOMATIC = ("accept", "accept-encoding", "user-agent", "content-type")
#: A field's name as RFC 9110 has it, and what may not stand in a value.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass
class Progress:
    """How far a call has come; its caller passes one in ``request.extensions["progress"]``."""

    deadline: asyncio.Timeout
    #: When the call must be over, by the loop's clock.
    ends_at: float
    #: What it is when the time is up now.
    late: type[httpx.TimeoutException] = httpx.ReadTimeout
    #: When the request was written, by the monotonic clock in s. None: no byte of it was given to the connection.
    sent_at: float | None = None
    _connecting: bool = False

    def connect(self) -> None:
        """Give the connection its share of the time, once the host's name is resolved."""
        if not self._connecting and not self.deadline.expired():
            self._connecting = True
            by = asyncio.get_running_loop().time() + CONNECT_TIMEOUT.total_seconds()
            self.deadline.reschedule(min(self.ends_at, by))

    def connected(self) -> None:
        """Give the rest of the call the rest of the time."""
        self.late = httpx.WriteTimeout
        if self._connecting and not self.deadline.expired():
            self.deadline.reschedule(self.ends_at)

    def sent(self) -> None:
        """Note that the vendor may have the request from now on."""
        self.sent_at = monotonic()


# aiohttp has no way to pass something of a request to the connector. Tasks that it starts for a call copy the context.
_progress: ContextVar[Progress] = ContextVar("progress")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends a request once and as it is: no redirect, cookie, proxy or retry, and no header but the request's own.

    It bounds no time: the caller cancels a call that takes too long. It raises httpx's exceptions; their texts hold
    neither what was sent nor what the server has sent.
    """

    def __init__(self, concurrency: int) -> None:
        tls = httpx.create_ssl_context(trust_env=False)
        tls.set_alpn_protocols(["http/1.1"])
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=concurrency,
                ssl=tls,
                keepalive_timeout=KEEPALIVE.total_seconds(),
                # In a thread, so that the deadline holds for a resolver that does not answer.
                resolver=aiohttp.ThreadedResolver(),
                socket_factory=_open_socket,
            ),
            request_class=_Request,
            middlewares=[_once],
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, whose content is bytes."""
        if self._session.closed:
            raise httpx.ConnectError("the transport is closed")
        if request.url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol("the address is neither http nor https")
        for name, value in request.headers.raw:
            if not _NAME.fullmatch(name) or _CONTROL.search(value):
                raise httpx.LocalProtocolError("a header is not valid HTTP")
        progress: Progress = request.extensions["progress"]
        _progress.set(progress)
        try:
            url = _as_it_is(request.url)
        except ValueError:
            raise httpx.InvalidURL("the address cannot be read") from None
        try:
            response = await self._session.request(
                request.method,
                url,
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
            )
        except (httpx.TransportError, httpx.InvalidURL):
            raise
        except Exception as error:  # noqa: BLE001  # what a server's bytes make a library raise is a fault of the call
            raise _fault(error, progress) from None
        # The rest of the message is bytes in a coding that nobody here knows, however long.
        if response.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
            response.close()
            raise httpx.RemoteProtocolError("the response's transfer encoding is unknown")
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response, progress), request=request
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """A response's body. A connection whose body was not read to its end is closed, not kept."""

    def __init__(self, response: aiohttp.ClientResponse, progress: Progress) -> None:
        self._response = response
        self._progress = progress
        # aiohttp takes both from the response once the body is whole.
        self._protocol = response.connection.protocol if response.connection else None
        self._ends_with_connection = response.headers.keys().isdisjoint({"content-length", "transfer-encoding"})

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except Exception as error:  # noqa: BLE001  # as above
            if isinstance(error, aiohttp.ClientPayloadError) and self._was_reset():
                raise httpx.ReadError("the connection was reset") from None
            raise _fault(error, self._progress) from None
        if self._ends_with_connection and self._was_reset():
            raise httpx.ReadError("the connection was reset") from None

    def _was_reset(self) -> bool:
        return self._protocol is not None and isinstance(self._protocol.exception(), OSError)

    async def aclose(self) -> None:
        self._response.close()


class _Connector(aiohttp.TCPConnector):
    """A pool that tells a call's progress, and gives nobody a connection on which an answer already waits."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        progress = _progress.get()
        progress.late = httpx.PoolTimeout
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            # What a server sent unasked while the connection idled would pass for the answer to this request.
            if protocol is not None and not protocol.should_close:
                progress.connected()
                return connection
            connection.close()

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        _progress.get().late = httpx.ConnectTimeout
        return await super()._create_connection(req, traces, timeout)


class _Request(aiohttp.ClientRequest):
    """A request that tells when it is written: aiohttp writes head and body at once, and its traces cost a tenth."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if not self.body:
            progress = _progress.get()
            progress.sent()
            progress.late = httpx.ReadTimeout
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        progress = _progress.get()
        # aiohttp writes to no connection that has closed since it was taken, so the head stays here too.
        written = not conn.closed
        if written:
            progress.sent()
        await super().write_bytes(writer, conn, content_length)
        if written:
            progress.late = httpx.ReadTimeout


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again: it does so by itself when a kept connection breaks."""
    try:
        return await send(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _fault(error, _progress.get()) from None


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    _progress.get().connect()
    family, kind, protocol, *_ = address
    return socket.socket(family, kind, protocol)


def _as_it_is(url: httpx.URL) -> URL:
    if (url.port or 0) > 65535:
        raise ValueError("no such port")
    path, _, query = url.raw_path.decode().partition("?")
    # Not from a string: what is signed may not be quoted anew, and a user's name would become a header.
    return URL.build(scheme=url.scheme, authority=url.netloc.decode(), path=path, query_string=query, encoded=True)


def _fault(error: Exception, progress: Progress) -> httpx.TransportError | httpx.InvalidURL:
    """Say what happened in httpx's words. Most texts of aiohttp repeat the address, our headers or the server's."""
    match error:
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(str(error.os_error))
        case aiohttp.InvalidURL():
            return httpx.InvalidURL("the address cannot be read")
        case aiohttp.ServerDisconnectedError():
            return httpx.RemoteProtocolError("the server has closed the connection without a response")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return httpx.RemoteProtocolError(f"the response is not valid or not whole ({_root(error)})")
    kind: type[httpx.NetworkError]
    kind, text = httpx.ConnectError, f"no connection ({_root(error)})"
    if progress.sent_at is not None:
        kind, text = httpx.ReadError, f"the connection broke ({_root(error)})"
    elif progress.late is httpx.WriteTimeout:
        kind, text = httpx.WriteError, "the connection was closed before the request was sent"
    return kind(error.strerror if isinstance(error, OSError) and error.errno and error.strerror else text)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
