"""Calls through a transport, and the conversations of the servers that answer them."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from datetime import timedelta
from time import monotonic
from typing import TypeVar

import httpx
import pytest

from streamstop.operations import Meaning
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors.protocol import Request, Response
from tests.support.loopback import Connection
from tests.support.polling import TIMEOUT_S

#: A timeout for calls that should time out.
SHORT = timedelta(milliseconds=300)
#: A timeout for calls that should succeed: far longer than they take.
LONG = timedelta(seconds=TIMEOUT_S)
BODY = b'{"RequestId": "R-1"}'
QUERY = "/?AccessKeyId=LTAI-id&Signature=hush-hush"
Conversation = Callable[[Connection], None]
T = TypeVar("T")


class TransportClient:
    """A transport in a loop of its own, for tests that make one call after another."""

    def __init__(self, runner: asyncio.Runner, timeout: timedelta, concurrency: int = 4) -> None:
        self._runner = runner
        self._transport = runner.run(self._make(timeout, concurrency))

    async def _make(self, timeout: timedelta, concurrency: int) -> Transport:
        return Transport(timeout, concurrency)

    def send(self, request: Request) -> Response:
        return self._runner.run(self._transport.send(request))

    def run(self, calls: Callable[[Transport], Awaitable[T]]) -> T:
        async def run() -> T:
            return await calls(self._transport)

        return self._runner.run(run())

    def with_timeout(self, timeout: timedelta) -> "TransportClient":
        """Return a client with another timeout that uses the same connections; only this one is closed."""
        client = copy(self)
        client._transport = Transport(timeout, 1, self._transport._transport)
        return client

    def close(self) -> None:
        self._runner.run(self._transport.close())


def get(origin: str) -> Request:
    return Request("GET", f"{origin}{QUERY}", {"host": origin.partition("://")[2]})


def post(origin: str, body: bytes = b"{}") -> Request:
    return Request("POST", f"{origin}{QUERY}", {"host": origin.partition("://")[2]}, body)


def assert_describes(fault: TransportFault, request: Request) -> None:
    assert fault.answer.meaning is Meaning.TRANSIENT
    assert fault.answer.known
    for text in (str(fault), repr(fault.answer)):
        assert "hush-hush" not in text
        assert "LTAI-id" not in text
    assert request.headers["host"] in (fault.answer.message or "")
    # An error report with the chain of causes contains no request.
    assert fault.__cause__ is None
    assert fault.__context__ is None


def fault_of(client: TransportClient, request: Request) -> TransportFault:
    began = monotonic()
    with pytest.raises(TransportFault) as raised:
        client.send(request)
    assert monotonic() - began < LONG.total_seconds() / 2
    assert_describes(raised.value, request)
    return raised.value


def error_code(client: TransportClient, request: Request) -> str | None:
    return fault_of(client, request).answer.code


def transport_answering(conversation: httpx.Response | httpx.TransportError) -> Transport:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(conversation, httpx.Response):
            return conversation
        raise conversation

    return Transport(LONG, 1, transport=httpx.MockTransport(handle))


def send_once(transport: Transport, request: Request) -> Response:
    return asyncio.run(transport.send(request))


def fault_of_once(transport: Transport, request: Request) -> TransportFault:
    with pytest.raises(TransportFault) as raised:
        send_once(transport, request)
    assert_describes(raised.value, request)
    return raised.value


def answer_forever(connection: Connection) -> None:
    while connection.request():
        connection.answer(BODY)


ClientResolving = Callable[[timedelta, Callable[..., list[object]]], TransportClient]


@contextmanager
def full_listener(address: str, port: int = 0) -> Iterator[int]:
    """Yield a port on which no connection completes: Linux drops new ones while the accept queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def hang(connection: Connection) -> None:
    connection.hang()


def hang_in_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    connection.hang()


def drip_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    connection.drip(b" ")
