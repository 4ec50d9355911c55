"""What serves connections in an event loop leaves no task and no socket, whenever it closes."""

import asyncio
import errno
import gc
import socket
import warnings
from collections.abc import Awaitable, Callable

import pytest

from streamstop_simulator import server as server_module
from streamstop_simulator.accounts import DEFAULT_ACCOUNTS
from streamstop_simulator.demo.embedded_redis import free_port
from streamstop_simulator.server import Server
from streamstop_simulator.simulation import Simulation
from streamstop_simulator.sockets import Connection, Listener
from tests.support.bad_network import BadNetwork
from tests.support.polling import TIMEOUT_S

#: The turns of the loop before the close: before the connections are accepted, before their tasks start, and later.
TURNS = range(6)


async def open_simulator() -> tuple[Server, int]:
    server = Server(Simulation(DEFAULT_ACCOUNTS))
    await server.start()
    return server, int(server.url.rpartition(":")[2])


async def open_network() -> tuple[BadNetwork, int]:
    """Open a network that leads to the network itself: each connection makes the next."""
    network = BadNetwork(0)
    network.open()
    network.target = network.port
    return network, network.port


async def open_network_to_nothing() -> tuple[BadNetwork, int]:
    network = BadNetwork(free_port())
    network.open()
    return network, network.port


def ended(client: socket.socket) -> bool:
    """Return whether the server has closed its end; one that has leaked it would let this time out."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("start", [open_simulator, open_network, open_network_to_nothing])
def test_a_close_at_any_moment_leaves_no_task_and_no_socket(
    start: Callable[[], Awaitable[tuple[Server | BadNetwork, int]]], turns: int
) -> None:
    async def rounds() -> None:
        for _ in range(20):
            server, port = await start()
            clients = [socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) for _ in range(6)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for client in clients[::2]:
                client.close()
            await server.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for client in clients[1::2]:
                with client:
                    assert ended(client)

    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        asyncio.run(rounds())
        gc.collect()
    assert [str(one.message) for one in unclosed] == []


def test_the_simulator_accepts_again_after_the_system_refused_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scarce(Listener):
        refusals = 1

        def next_connection(self) -> Connection:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().next_connection()

    monkeypatch.setattr(server_module, "Listener", Scarce)
    monkeypatch.setattr(server_module, "_ACCEPT_AGAIN_AFTER", 0.01)
    reported: list[object] = []

    async def ask() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        server, port = await open_simulator()
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"hello\r\n\r\n")
            answer = await asyncio.wait_for(loop.sock_recv(client, 100), TIMEOUT_S)
        await server.close()
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 400 ")
    assert [error.errno for error in reported if isinstance(error, OSError)] == [errno.EMFILE]
