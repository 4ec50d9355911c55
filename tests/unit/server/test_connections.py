"""A connection whose client does not read: it is closed, however little is left to send."""

from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamstop_server.connections import STALLED_AT_END_S, STALLED_S, Connection


class Loop:
    """Calls what is due when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> "Loop":
        self.due.append((seconds, lambda: call(*arguments)))
        return self

    def pass_time(self, expected_s: float = STALLED_S) -> None:
        [(seconds, call)], self.due = self.due, []
        assert seconds == expected_s
        call()

    def cancel(self) -> None:
        """Forget what is due, which is one call at most."""
        self.due = []


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
    made._pauses, made._watching, made._stalled_s = 0, None, STALLED_S
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


@pytest.mark.parametrize("stalls_first", [True, False])
def test_at_the_end_of_the_process_a_client_has_two_seconds(
    stalls_first: bool, connection: Connection, loop: Loop, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(H11Protocol, "shutdown", lambda _self: None)
    transport.left = 100_000 if stalls_first else 0
    if stalls_first:
        connection.pause_writing()
    connection.shutdown()
    if not stalls_first:
        loop.pass_time(STALLED_AT_END_S)
        transport.left = 100_000
        connection.pause_writing()
    loop.pass_time(STALLED_AT_END_S)
    assert transport.is_aborted
