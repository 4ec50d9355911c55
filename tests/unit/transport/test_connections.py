"""The transport reuses its connections, bounds their number, and leaves none behind."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streamstop_worker import transport as transport_module
from streamstop_worker.aiohttp_adapter import Progress
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors.protocol import Request, Response
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import TIMEOUT_S
from tests.support.transport_calls import (
    BODY,
    LONG,
    SHORT,
    Conversation,
    TransportClient,
    answer_forever,
    assert_describes,
    drip_the_body,
    error_code,
    fault_of,
    get,
    hang,
    hang_in_the_body,
    post,
)


def test_one_connection_serves_many_calls_and_no_cookie_is_kept(transport: TransportClient) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        while request := connection.request():
            received.append(request)
            connection.answer(BODY, b"Set-Cookie: who=you")

    with LoopbackServer(converse) as server:
        for _ in range(3):
            transport.send(get(server.origin))
        assert server.connections == 1
    assert len(received) == 3
    assert b"cookie" not in b"".join(received).lower()


def test_a_connection_that_the_server_closed_is_a_fault_and_the_next_call_opens_another(
    transport: TransportClient,
) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        connection.request()  # and closes instead of answering

    with LoopbackServer(converse) as server:
        transport.send(get(server.origin))
        assert error_code(transport, get(server.origin)) == "RemoteProtocolError"
        assert transport.send(get(server.origin)).body == BODY


def test_a_get_whose_kept_connection_breaks_is_not_sent_again(transport: TransportClient) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        received.append(connection.request())
        connection.answer(BODY)
        received.append(connection.request())
        connection.reset()

    with LoopbackServer(converse) as server:
        transport.send(get(server.origin))
        fault = fault_of(transport, get(server.origin))
        assert server.connections == 1
    assert (fault.answer.code, len(received)) == ("ReadError", 2)
    assert fault.sent_at is not None


@pytest.mark.parametrize("make", [get, post])
def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(
    transport: TransportClient, make: Callable[[str], Request]
) -> None:
    closed = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        connection.close()
        closed.set()

    async def calls(transport: Transport) -> None:
        for _ in range(3):
            assert (await transport.send(make(server.origin))).body == BODY
            await asyncio.to_thread(closed.wait)
            closed.clear()
            await asyncio.sleep(0)

    with LoopbackServer(converse) as server:
        transport.run(calls)
        assert server.connections == 3


def test_an_unsolicited_response_does_not_answer_the_next_request(transport: TransportClient) -> None:
    spoken = threading.Event()

    def converse(connection: Connection) -> None:
        number = len(server._served)
        connection.request()
        connection.answer(b"answer %d" % number)
        connection.answer(b"unasked")
        spoken.set()
        connection.request()

    async def calls(transport: Transport) -> list[bytes]:
        bodies = []
        for _ in range(3):
            bodies.append((await transport.send(get(server.origin))).body)
            assert await asyncio.to_thread(spoken.wait, TIMEOUT_S)
            spoken.clear()
            await asyncio.sleep(0)
        return bodies

    with LoopbackServer(converse) as server:
        assert transport.run(calls) == [b"answer 1", b"answer 2", b"answer 3"]


def test_300_calls_at_once_share_the_connections(runner: asyncio.Runner) -> None:
    client = TransportClient(runner, LONG, concurrency=40)

    async def calls(transport: Transport) -> list[Response]:
        return await asyncio.gather(*(transport.send(make(server.origin)) for make in [get, post] * 150))

    with LoopbackServer(answer_forever) as server:
        responses = client.run(calls)
        assert server.connections <= 40
        client.close()
    assert [response.body for response in responses] == [BODY] * 300


def test_300_calls_go_out_together(runner: asyncio.Runner) -> None:
    client = TransportClient(runner, LONG, concurrency=300)
    together = threading.Barrier(300)

    def converse(connection: Connection) -> None:
        connection.request()
        together.wait(TIMEOUT_S)
        connection.answer(BODY)

    async def calls(transport: Transport) -> list[Response]:
        return await asyncio.gather(*(transport.send(get(server.origin)) for _ in range(300)))

    with LoopbackServer(converse) as server:
        assert len(client.run(calls)) == 300
        client.close()


def test_a_call_that_gets_no_connection_in_time_is_a_pool_timeout(runner: asyncio.Runner) -> None:
    client = TransportClient(runner, SHORT, concurrency=1)
    taken = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        taken.set()
        connection.hang()

    async def calls(transport: Transport) -> TransportFault:
        # The call that holds the connection outlasts the other's timeout.
        slow = Transport(LONG, 1, transport=transport._transport)
        first = asyncio.create_task(slow.send(get(server.origin)))
        await asyncio.to_thread(taken.wait)
        with pytest.raises(TransportFault) as raised:
            await transport.send(get(server.origin))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return raised.value

    with LoopbackServer(converse) as server:
        fault = client.run(calls)
        client.close()
    assert_describes(fault, get(server.origin))
    assert (fault.answer.code, fault.sent_at) == ("PoolTimeout", None)


def test_a_call_whose_connection_closes_before_a_byte_is_written_was_not_sent(runner: asyncio.Runner) -> None:
    client = TransportClient(runner, LONG)
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        received.append(connection.request())

    async def calls(transport: Transport) -> TransportFault:
        await transport.send(get(server.origin))
        call = asyncio.create_task(transport.send(post(server.origin)))
        # From Python 3.12 on, the body is written in this step already.
        await asyncio.sleep(0)
        await transport.close()
        with pytest.raises(TransportFault) as raised:
            await call
        return raised.value

    with LoopbackServer(converse) as server:
        fault = client.run(calls)
        assert_describes(fault, get(server.origin))
    assert (fault.sent_at is None) == (not received)
    assert fault.answer.code == ("RemoteProtocolError" if received else "WriteError")


@pytest.mark.parametrize("converse", [hang, hang_in_the_body, drip_the_body])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_call_that_is_cancelled_or_late_leaves_no_connection_and_no_task(
    runner: asyncio.Runner, converse: Conversation, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TransportClient(runner, LONG, concurrency=8)
    reached = threading.Semaphore(0)
    gone: list[bool] = []
    under_way: list[Progress] = []

    def count(connection: Connection) -> None:
        reached.release()
        try:
            converse(connection)
        finally:
            gone.append(connection.client_is_gone())

    def progress(*arguments: Any) -> Progress:
        under_way.append(Progress(*arguments))
        return under_way[-1]

    async def start(transport: Transport) -> list[asyncio.Task[Response]]:
        """Start a call on each connection, and wait until all of them wait for the server."""
        under_way.clear()
        origin = server.origin.replace("http:", f"{scheme}:")
        calls = [asyncio.create_task(transport.send(make(origin))) for make in [get, post] * 4]
        for _ in calls:
            assert await asyncio.to_thread(reached.acquire, timeout=TIMEOUT_S)
        async with asyncio.timeout(TIMEOUT_S):
            while {one.late for one in under_way} != {httpx.ReadTimeout if scheme == "http" else httpx.ConnectTimeout}:
                await asyncio.sleep(0)
        return calls

    async def calls(transport: Transport) -> None:
        cancelled = await start(transport)
        for call in cancelled:
            call.cancel()
        ends = await asyncio.gather(*cancelled, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        # The cancelled calls freed their places, or these would wait.
        late = await start(transport)
        for one in under_way:
            one.deadline.reschedule(asyncio.get_running_loop().time())
        ends = await asyncio.gather(*late, return_exceptions=True)
        codes = {end.answer.code for end in ends if isinstance(end, TransportFault)}
        assert codes == {"ReadTimeout" if scheme == "http" else "ConnectTimeout"}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    monkeypatch.setattr(transport_module, "Progress", progress)
    with LoopbackServer(count) as server:
        client.run(calls)
        client.close()
        assert server.connections == 16
    assert gone == [True] * 16


def test_a_call_under_way_when_the_transport_closes_is_a_fault_and_so_is_a_later_one(runner: asyncio.Runner) -> None:
    client = TransportClient(runner, LONG)
    taken = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        taken.set()
        connection.hang()

    async def calls(transport: Transport) -> list[TransportFault]:
        call = asyncio.create_task(transport.send(get(server.origin)))
        await asyncio.to_thread(taken.wait)
        await transport.close()
        faults = []
        for one in (call, transport.send(get(server.origin))):
            with pytest.raises(TransportFault) as raised:
                await one
            faults.append(raised.value)
        return faults

    with LoopbackServer(converse) as server:
        under_way, later = client.run(calls)
    assert under_way.answer.code == "RemoteProtocolError"
    assert under_way.sent_at is not None
    assert (later.answer.code, later.sent_at) == ("ConnectError", None)
