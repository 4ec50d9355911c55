"""Passes connections on, in an event loop; a passage that is closed leaves no task and no socket.

asyncio's own servers and streams cannot promise that. A server starts a task for each connection, which nobody can
await, and a transport closes its socket in a later turn of the loop, which may never come. What they leave raises in
another test, when the garbage collector finds it. A passage records each socket and each task as soon as it exists.
"""

import asyncio
import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

#: Waits for the delay of a chunk, and returns whether the chunk passes. The argument: whether it is of an answer.
Gate = Callable[[bool], Awaitable[bool]]


class Passage(ABC):
    """Passes connections on to a port of loopback."""

    def __init__(self, target: int, *, resets: bool = False) -> None:
        #: The port of loopback to which new connections lead.
        self.target = target
        #: The port of the passage itself.
        self.port = 0
        self._resets = resets
        self._listener: socket.socket | None = None
        self._connections: dict[asyncio.Task[None], socket.socket] = {}

    @abstractmethod
    def gate(self) -> Gate:
        """Return the gate of a new connection."""

    def open(self) -> None:
        """Listen, in the running event loop."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def end_connections(self) -> None:
        """Close every connection, in the loop's next turns."""
        for connection in self._connections:
            connection.cancel()

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        self.end_connections()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                client, _ = listener.accept()
                task = asyncio.get_running_loop().create_task(self._pass_on(client, self.gate()))
                self._connections[task] = client
                # Not `finally` in the task: one that is cancelled before its first step runs none of its code.
                task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        client = self._connections.pop(task)
        if self._resets:
            _reset_on_close(client)
        client.close()

    async def _pass_on(self, client: socket.socket, gate: Gate) -> None:
        with socket.socket() as server:
            if self._resets:
                _reset_on_close(server)
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_connect(server, ("127.0.0.1", self.target))
                ways = {
                    asyncio.create_task(_pass_one_way(client, server, gate, is_answer=False)),
                    asyncio.create_task(_pass_one_way(server, client, gate, is_answer=True)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)


async def _pass_one_way(source: socket.socket, sink: socket.socket, gate: Gate, *, is_answer: bool) -> None:
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(source, 65536):
        if await gate(is_answer):
            await loop.sock_sendall(sink, chunk)


def _reset_on_close(end: socket.socket) -> None:
    """Make the other end meet a reset when this one closes."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
