"""A proxy on loopback that delays, silences or cuts connections between clients and a server."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager


class BadNetwork:
    """Forwards data as its attributes say; tests set them at any time."""

    def __init__(self, target: int) -> None:
        #: The port of loopback to which new connections lead.
        self.target = target
        #: How long each chunk of an answer is delayed, in seconds.
        self.delay_s = 0.0
        #: Whether all connections stay open and carry nothing.
        self.silent = False
        self.port = 0
        self._age = 0

    def cut(self) -> None:
        """Make the open connections half open: they carry nothing from now on, and neither side is notified."""
        self._age += 1

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        born = self._age

        async def ask() -> None:
            while chunk := await reader.read(65536):
                if self.silent or born != self._age:
                    continue
                server_writer.write(chunk)
                await server_writer.drain()

        async def answer() -> None:
            while chunk := await server_reader.read(65536):
                await asyncio.sleep(self.delay_s)
                if self.silent or born != self._age:
                    continue
                writer.write(chunk)
                await writer.drain()

        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ways = {asyncio.create_task(ask()), asyncio.create_task(answer())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server_writer.transport.abort()
            writer.transport.abort()


@contextmanager
def bad_network(target: int) -> Iterator[BadNetwork]:
    """Pass on connections to `target`, a port of loopback, until the block ends; yield what makes it bad."""
    network = BadNetwork(target)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await network.connected(reader, writer)
        connections.discard(task)

    async def serve() -> None:
        over = asyncio.Event()
        server = await asyncio.start_server(connected, "127.0.0.1", network.port)
        network.port = server.sockets[0].getsockname()[1]
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()
        server.close()
        await asyncio.sleep(0)  # a task that has not started would leave its connection open
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="bad-network", daemon=True)
    thread.start()
    loop, over = started.result(10)
    try:
        yield network
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
