"""The only place that talks HTTP: sends a signed request as it is, and returns what came back or a fault.

One rule: whatever the other side does, :meth:`Transport.send` is over when the time is up, and what it read is bounded.
It takes no redirect, cookie or proxy, retries nothing, and adds nothing to a request but the lengths and two headers.
"""

import socket
import threading
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from queue import Empty, LifoQueue
from ssl import SSLContext
from time import monotonic
from typing import Any, cast

import httpcore
import httpx

from streamstop.operations import Meaning
from streamstop_worker.vendors.protocol import Answer, Request, Response

CONNECT_TIMEOUT = timedelta(seconds=3)
#: Shorter than the minute after which common load balancers close a connection that idles.
KEEPALIVE = timedelta(seconds=30)
#: To how many hosts one call after another keeps its connection.
HOSTS = 8
#: Bytes of a body, before and after decompression; a vendor's longest reply is a page of a listing.
LONGEST_BODY = 1024 * 1024

# Plain bodies are asked for, so that nothing but a server that compresses unasked is inflated here.
_OUR_HEADERS = {"accept-encoding": "identity", "user-agent": f"streamstop/{version('streamstop')}"}


class TransportFault(Exception):
    """No whole response came; :attr:`answer` says so in the words of a vendor's answer: transient, with a code."""

    def __init__(self, code: str, message: str, *, sent_at: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.answer = Answer(Meaning.TRANSIENT, code, message)
        #: When the request's last byte was written, by the monotonic clock in s; None: it was not sent.
        self.sent_at = sent_at


class Transport:
    """Kept connections that all threads of a worker share. TLS certificates are verified.

    `timeout` bounds a whole call, from the wait for a connection to the body's last byte; only the resolver's time for
    the host's name is its own. `pool_size` is how many calls may be under way at once. `transport` is the test seam;
    the bound on time is a part of the real one.
    """

    def __init__(self, timeout: timedelta, pool_size: int, transport: httpx.BaseTransport | None = None) -> None:
        self._timeout = timeout
        self._deadline = _Deadline()
        tls = httpx.create_ssl_context(trust_env=False)
        # Each call has an httpcore pool for itself. One that threads share can close a connection that another thread
        # has just taken: it asks for "idle" and for "readable, so closed by the server" in two steps.
        self._transports = [transport or _HTTPTransport(tls, self._deadline) for _ in range(pool_size)]
        # Last in, first out: the connection that was used last is the likeliest to be alive.
        self._free: LifoQueue[httpx.BaseTransport] = LifoQueue()
        for free in self._transports:
            self._free.put(free)

    def send(self, request: Request) -> Response:
        """Send `request` once, as it is. Redirects come back as they are, and bodies decompressed.

        Raises :class:`TransportFault`: ``ConnectTimeout``, ``ConnectError``, ``ReadTimeout``, ``ReadError``,
        ``RemoteProtocolError`` and httpx's other names, ``BodyTooLarge``, ``BadEncoding``, ``InvalidURL``.
        """
        seconds = self._timeout.total_seconds()
        try:
            host = httpx.URL(request.url).netloc.decode()
        except httpx.InvalidURL:
            raise TransportFault("InvalidURL", "the address cannot be read") from None
        self._deadline.moment = monotonic() + seconds
        self._deadline.sent_at = None

        def fault(code: str, message: str) -> TransportFault:
            return TransportFault(code, f"{host}: {message}", sent_at=self._deadline.sent_at)

        try:
            transport = self._free.get(timeout=seconds)
        except Empty:
            raise fault("PoolTimeout", f"no connection was free within {seconds:g} s") from None
        try:
            response = _exchange(transport, request, seconds)
            return replace(response, sent_at=self._deadline.sent_at, secrets=request.secrets)
        except httpx.LocalProtocolError:
            # Its text repeats the header that is wrong, and that may be the one with the token.
            raise fault("LocalProtocolError", "the request is not valid HTTP") from None
        except httpx.TimeoutException as error:
            raise fault(type(error).__name__, f"no whole response within {seconds:g} s") from None
        except httpx.TransportError as error:
            # What stands behind a colon are the server's own bytes ("illegal header line: …"): it may repeat a request.
            raise fault(type(error).__name__, str(error).partition(": bytearray(")[0][:200]) from None
        except zlib.error:
            raise fault("BadEncoding", "the body cannot be decompressed") from None
        except _BodyTooLarge:
            raise fault("BodyTooLarge", f"the body is longer than {LONGEST_BODY} bytes") from None
        finally:
            self._free.put(transport)

    def close(self) -> None:
        """Close every connection."""
        for transport in self._transports:
            transport.close()


class _BodyTooLarge(Exception):
    """A body is longer than anything that a vendor sends."""


def _exchange(transport: httpx.BaseTransport, request: Request, seconds: float) -> Response:
    timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT.total_seconds()))
    response = transport.handle_request(
        httpx.Request(
            request.method,
            request.url,
            headers={**_OUR_HEADERS, **request.headers},
            content=request.body,
            extensions={"timeout": timeout.as_dict()},
        )
    )
    try:
        return Response(response.status_code, dict(response.headers), _read(response))
    finally:
        response.close()


def _read(response: httpx.Response) -> bytes:
    # Not httpx's own decoders: they inflate a chunk whole, and 64 KiB of gzip can be 64 MiB of zeros.
    compressed = response.headers.get("content-encoding", "").strip().lower() in {"gzip", "x-gzip", "deflate"}
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if compressed else None
    body = bytearray()
    received = 0
    for chunk in cast("httpx.SyncByteStream", response.stream):  # a sync transport's response has no other
        received += len(chunk)
        body += inflater.decompress(chunk, LONGEST_BODY + 1 - len(body)) if inflater else chunk
        if max(received, len(body)) > LONGEST_BODY:
            raise _BodyTooLarge
    return bytes(body)


class _Deadline(threading.local):
    """The call of this thread, by the monotonic clock in s. httpcore works in the caller's thread."""

    #: When it must be over.
    moment: float = 0.0
    #: When its last byte was written.
    sent_at: float | None = None

    def within(self, timeout: float | None, fault: type[httpcore.TimeoutException]) -> float:
        """Return the seconds that a step may take: what is left of the call's time, and at most `timeout`.

        Raises `fault` if none is left.
        """
        left = self.moment - monotonic()
        if left <= 0:
            raise fault
        return left if timeout is None else min(left, timeout)


class _HTTPTransport(httpx.HTTPTransport):
    """httpx's transport over sockets that know the deadline of the call that they serve."""

    def __init__(self, tls: SSLContext, deadline: _Deadline) -> None:
        super().__init__(verify=tls)
        # httpx offers no way to pass a network backend; test_transport.py shows when this name has changed.
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=HOSTS,
            keepalive_expiry=KEEPALIVE.total_seconds(),
            network_backend=_Network(deadline),
        )


class _Network(httpcore.NetworkBackend):
    """Opens connections within the deadline, however many addresses a host has."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        until = monotonic() + self._deadline.within(timeout, httpcore.ConnectTimeout)
        fault: Exception = httpcore.ConnectError("the host has no address")
        for tried, address in enumerate(addresses):
            # Each address gets its share, so that a dead one leaves time for the next.
            share = max((until - monotonic()) / (len(addresses) - tried), 0.001)
            try:
                stream = self._sockets.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
            else:
                return _Stream(stream, self._deadline)
        raise fault


class _Stream(httpcore.NetworkStream):
    """A connection whose every step ends with the call's time: a server may not win time by dripping bytes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.within(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.within(timeout, httpcore.WriteTimeout))
        self._deadline.sent_at = monotonic()

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.within(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # as httpcore declares it
        return self._stream.get_extra_info(info)
