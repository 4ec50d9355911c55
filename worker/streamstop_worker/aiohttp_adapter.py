"""aiohttp adapter: sends httpx requests through aiohttp's connections, for a fraction of the CPU of httpx's own pool.

The package httpx-aiohttp does not fit: it quotes a signed query again, adds headers, and lets aiohttp retry a GET.
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
#: Shorter than the minute after which common load balancers close an idle connection.
KEEPALIVE = timedelta(seconds=30)
#: The most bytes of the status line and of a header's line. They are aiohttp's defaults; a test checks them.
LONGEST_LINE = 8190
MOST_HEADERS = 128

# Headers that aiohttp would add. httpx sets Host and Content-Length.
_AUTOMATIC = ("accept", "accept-encoding", "user-agent", "content-type")
#: A header's name by RFC 9110, and the bytes that a value must not contain.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass
class Progress:
    """The progress of a call. The caller passes it in ``request.extensions["progress"]``."""

    deadline: asyncio.Timeout
    #: When the call must end, by the loop's clock.
    ends_at: float
    #: The kind of timeout if the deadline expires now.
    late: type[httpx.TimeoutException] = httpx.ReadTimeout
    #: When the request was written, by the monotonic clock in s. None: no byte was passed to the connection.
    sent_at: float | None = None
    _connecting: bool = False

    def connect(self) -> None:
        """Shorten the deadline to the connection's timeout. Called when the host's name is resolved."""
        if not self._connecting and not self.deadline.expired():
            self._connecting = True
            by = asyncio.get_running_loop().time() + CONNECT_TIMEOUT.total_seconds()
            self.deadline.reschedule(min(self.ends_at, by))

    def connected(self) -> None:
        """Restore the deadline of the whole call."""
        self.late = httpx.WriteTimeout
        if self._connecting and not self.deadline.expired():
            self.deadline.reschedule(self.ends_at)

    def sent(self) -> None:
        """Record that the vendor may have received the request."""
        self.sent_at = monotonic()


# aiohttp cannot pass data of a request to the connector. The tasks that it starts for a call copy this context.
_progress: ContextVar[Progress] = ContextVar("progress")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends a request once and unchanged: no redirect, cookie, proxy, retry or added header.

    It sets no timeout: the caller cancels a call that takes too long. It raises httpx's exceptions. Their texts contain
    neither the request nor the response.
    """

    def __init__(self, concurrency: int) -> None:
        tls = httpx.create_ssl_context(trust_env=False)
        tls.set_alpn_protocols(["http/1.1"])
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=concurrency,
                ssl=tls,
                keepalive_timeout=KEEPALIVE.total_seconds(),
                # In a thread, so that the deadline also bounds a resolver that does not answer.
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
        # Instrumentations of aiohttp add theirs. They would show the signed URL, and add headers to the signed request.
        self._session.trace_configs.clear()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Its content must be bytes."""
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
            url = _unquoted_url(request.url)
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
        except Exception as error:  # noqa: BLE001  # bytes of a server can make the library raise any error
            raise _fault(error, progress) from None
        # The body would be in an unknown coding and of unknown length.
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
    """A response's body. If it was not read to its end, its connection is closed and not reused."""

    def __init__(self, response: aiohttp.ClientResponse, progress: Progress) -> None:
        self._response = response
        self._progress = progress
        # aiohttp removes the connection from the response when the body is complete.
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
    """A connection pool that records a call's progress, and closes connections with unread bytes."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        progress = _progress.get()
        progress.late = httpx.PoolTimeout
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            # Bytes that a server sent on the idle connection would be read as the response to this request.
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
    """A request that records when it is written. aiohttp's own traces would cost a tenth more CPU."""

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
        # aiohttp does not write to a connection that has closed since. Then the head was not sent either.
        written = not conn.closed
        if written:
            progress.sent()
        await super().write_bytes(writer, conn, content_length)
        if written:
            progress.late = httpx.ReadTimeout


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Prevent aiohttp's automatic retry of a GET after a reused connection breaks."""
    try:
        return await send(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _fault(error, _progress.get()) from None


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    _progress.get().connect()
    family, kind, protocol, *_ = address
    return socket.socket(family, kind, protocol)


def _unquoted_url(url: httpx.URL) -> URL:
    if (url.port or 0) > 65535:
        raise ValueError("no such port")
    path, _, query = url.raw_path.decode().partition("?")
    # Not from a string: yarl would quote the signed query again, and turn a user name into a header.
    return URL.build(scheme=url.scheme, authority=url.netloc.decode(), path=path, query_string=query, encoded=True)


def _fault(error: Exception, progress: Progress) -> httpx.TransportError | httpx.InvalidURL:
    """Return httpx's error for one of aiohttp, without its text: that may contain the address or headers."""
    match error:
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(str(error.os_error))
        case aiohttp.InvalidURL():
            return httpx.InvalidURL("the address cannot be read")
        case aiohttp.ServerDisconnectedError():
            return httpx.RemoteProtocolError("the server has closed the connection without a response")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return httpx.RemoteProtocolError(f"the response is not valid or not complete ({_root(error)})")
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
