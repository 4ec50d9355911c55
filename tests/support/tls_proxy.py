"""A proxy on loopback that terminates TLS in front of a server without it."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def tls_proxy(certificate: Path, port: int) -> Iterator[int]:
    """Pass on connections to `port` of loopback until the block ends; yield the port that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                ways = {asyncio.create_task(_pass(reader, to_writer)), asyncio.create_task(_pass(to_reader, writer))}
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                to_writer.close()
        writer.transport.abort()
        connections.discard(task)

    async def serve() -> None:
        over = asyncio.Event()
        server = await asyncio.start_server(connected, "127.0.0.1", ssl=context)
        started.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), over))
        await over.wait()
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="tls-proxy", daemon=True)
    thread.start()
    own_port, loop, over = started.result(10)
    try:
        yield own_port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
