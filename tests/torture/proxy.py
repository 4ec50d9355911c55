"""TCP proxies on loopback that can reset connections, and drop or delay data. They run in their own process.

In the process of the run, they would add its pauses to every call. ``python -m tests.torture.proxy`` takes orders as
JSON lines from standard input, and answers each with a line. It ends when its input ends.
"""

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).parents[2]


class _Passage:
    """Forwards connections to a port of loopback. Times are in seconds."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        #: How many orders to drop data are in force. Data is dropped while this is above 0.
        self._swallowing = 0
        self._delay = 0.0

    async def open(self) -> int:
        """Listen; return the port."""
        server = await asyncio.start_server(self._connected, "127.0.0.1")
        port: int = server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            _reset(writer)

    def half_open(self, seconds: float) -> None:
        """Drop all data for a time, that of new connections too; then reset them."""
        self._swallowing += 1
        asyncio.get_running_loop().call_later(seconds, self._end_half_open)

    def slow(self, delay: float, seconds: float) -> None:
        """Delay all data, in both directions, for a time."""
        self._delay += delay
        asyncio.get_running_loop().call_later(seconds, self._end_slow, delay)

    def _end_half_open(self) -> None:
        self._swallowing -= 1
        self.cut()

    def _end_slow(self, delay: float) -> None:
        self._delay = max(0.0, self._delay - delay)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = {writer}
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):  # the target is away: the code below closes the client's connection
                to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
                writers.add(to_writer)
                self._writers.add(to_writer)
                ways = [asyncio.create_task(self._pass(*way)) for way in ((reader, to_writer), (to_reader, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for one in writers:
                self._writers.discard(one)
                _reset(one)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._swallowing:
                    continue
                writer.write(chunk)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that its other end gets a reset."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _serve() -> None:
    """Execute orders until the input ends."""
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    passages: dict[int, _Passage] = {}
    while line := await orders.readline():
        order = json.loads(line)
        what, port = order.pop("do"), order.pop("port")
        if what == "open":
            passage = _Passage(port)
            port = await passage.open()
            passages[port] = passage
        else:
            getattr(passages[port], what)(**order)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()


@dataclass(frozen=True)
class Proxy:
    """One proxy, which listens on `port`. Times are in seconds."""

    port: int
    _proxies: "Proxies"

    def cut(self) -> None:
        """Reset every connection."""
        self._proxies.order("cut", self.port)

    def half_open(self, seconds: float) -> None:
        """Drop all data for a time, that of new connections too; then reset them."""
        self._proxies.order("half_open", self.port, seconds=seconds)

    def slow(self, delay: float, seconds: float) -> None:
        """Delay all data by `delay`, in both directions, for a time."""
        self._proxies.order("slow", self.port, delay=delay, seconds=seconds)


class Proxies:
    """Every proxy of a run. Threads can share it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lock = threading.Lock()

    def to(self, port: int) -> Proxy:
        """Start another proxy, to a port of loopback."""
        return Proxy(self.order("open", port), self)

    def order(self, what: str, port: int, **details: Any) -> int:
        """Send an order, and return the port of the proxy that executed it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"do": what, "port": port, **details}) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())


@contextmanager
def proxies() -> Iterator[Proxies]:
    """Run proxies until the block ends."""
    command = [sys.executable, "-m", "tests.torture.proxy"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY
    ) as process:
        try:
            yield Proxies(process)
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve())
