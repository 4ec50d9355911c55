"""A connection whose client does not read: it is closed, however little is left to send."""

from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from streamstop_server.connections import STALLED_S, Connection


class Loop:
    """Calls what is due when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> "Loop":
        self.due.append((seconds, lambda: call(*arguments)))
        return self

    def pass_time(self) -> None:
        [(seconds, call)], self.due = self.due, []
        assert seconds == STALLED_S
        call()


class Transport:
    """A transport that holds `left` bytes for its client."""

    def __init__(self) -> None:
        self.left = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def connection(loop: Loop, transport: Transport) -> Connection:
    made: Any = Connection.__new__(Connection)
    made.loop, made.transport, made.flow = loop, transport, FlowControl(transport)  # type: ignore[arg-type]
    made._pauses, made._watching = 0, None
    found: Connection = made
    return found


def test_a_client_that_reads_nothing_loses_its_connection(
    connection: Connection, loop: Loop, transport: Transport
) -> None:
    transport.left = 100_000
    connection.pause_writing()
    loop.pass_time()
    assert transport.is_aborted


def test_a_client_that_leaves_the_last_bytes_of_an_answer_loses_its_connection(
    connection: Connection, loop: Loop, transport: Transport
) -> None:
    transport.left = 100_000
    connection.pause_writing()
    transport.left = 10_000
    connection.resume_writing()
    loop.pass_time()
    assert not transport.is_aborted
    loop.pass_time()
    assert transport.is_aborted


def test_a_client_that_reads_slowly_keeps_its_connection_and_is_watched_until_nothing_is_left(
    connection: Connection, loop: Loop, transport: Transport
) -> None:
    transport.left = 100_000
    connection.pause_writing()
    for transport.left in (90_000, 80_000, 0):
        loop.pass_time()
    assert not transport.is_aborted
    assert loop.due == []
