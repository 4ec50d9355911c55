"""TCP proxies on loopback that can cut, swallow and delay what passes through them, in a process of their own.

In the run's own process they would add its pauses to every call. ``python -m tests.torture.proxy`` takes orders as JSON
lines from its standard input, and answers each with a line; it ends with its input.
"""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.passage import Gate, Passage

_REPOSITORY = Path(__file__).parents[2]


class _FaultyPassage(Passage):
    """Resets the connections that it closes. Times are in seconds."""

    def __init__(self, target: int) -> None:
        super().__init__(target, resets=True)
        #: What passes is thrown away while this is above 0: how many have asked for it.
        self._swallowing = 0
        self._delay = 0.0

    def cut(self) -> None:
        """Reset every connection."""
        self.end_connections()

    def half_open(self, seconds: float) -> None:
        """Swallow everything for a time, of new connections too; then reset them."""
        self._swallowing += 1
        asyncio.get_running_loop().call_later(seconds, self._end_half_open)

    def slow(self, delay: float, seconds: float) -> None:
        """Delay what passes, each way, for a time."""
        self._delay += delay
        asyncio.get_running_loop().call_later(seconds, self._end_slow, delay)

    def gate(self) -> Gate:
        """Return the gate of a new connection: it is that of all."""
        return self._passes

    async def _passes(self, _is_answer: bool) -> bool:
        if self._delay:
            await asyncio.sleep(self._delay)
        return not self._swallowing

    def _end_half_open(self) -> None:
        self._swallowing -= 1
        self.cut()

    def _end_slow(self, delay: float) -> None:
        self._delay = max(0.0, self._delay - delay)


async def _serve() -> None:
    """Carry out orders until there are no more."""
    passages: dict[int, _FaultyPassage] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        what, port = order.pop("do"), order.pop("port")
        if what == "open":
            passage = _FaultyPassage(port)
            passage.open()
            port = passage.port
            passages[port] = passage
        else:
            getattr(passages[port], what)(**order)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()


@dataclass(frozen=True)
class Proxy:
    """One proxy: connect to `port`. Times are in seconds."""

    port: int
    _proxies: "Proxies"

    def cut(self) -> None:
        """Reset every connection."""
        self._proxies.order("cut", self.port)

    def half_open(self, seconds: float) -> None:
        """Swallow everything for a time, of new connections too; then reset them."""
        self._proxies.order("half_open", self.port, seconds=seconds)

    def slow(self, delay: float, seconds: float) -> None:
        """Delay what passes by `delay`, each way, for a time."""
        self._proxies.order("slow", self.port, delay=delay, seconds=seconds)


class Proxies:
    """Every proxy of a run; for any thread."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lock = threading.Lock()

    def to(self, port: int) -> Proxy:
        """Make one more, to a port of loopback."""
        return Proxy(self.order("open", port), self)

    def order(self, what: str, port: int, **details: Any) -> int:
        """Give an order, and return the port of the proxy that carried it out."""
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
