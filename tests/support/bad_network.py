"""A proxy on loopback that delays, silences or cuts connections between clients and a server."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from tests.support.passage import Gate, Passage
from tests.support.polling import TIMEOUT_S


class BadNetwork(Passage):
    """Forwards data as its attributes say; tests set them at any time."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        #: How long each chunk of an answer is delayed, in seconds.
        self.delay_s = 0.0
        #: Whether all connections stay open and carry nothing.
        self.silent = False
        #: Whether answers wait until this is False again.
        self.holds_answers = False
        #: After how many more chunks of answers the open connections are cut; None: they are not.
        self.cut_after: int | None = None
        self._age = 0

    def cut(self) -> None:
        """Make the open connections half open: they carry nothing from now on, and neither side is notified."""
        self._age += 1

    def gate(self) -> Gate:
        """Return the gate of a new connection."""
        born = self._age

        async def passes(is_answer: bool) -> bool:
            if is_answer:
                await asyncio.sleep(self.delay_s)
                while self.holds_answers:
                    await asyncio.sleep(0.01)
                if self.cut_after is not None:
                    self.cut_after -= 1
                    if self.cut_after < 0:
                        self.cut_after = None
                        self.cut()
            return not self.silent and born == self._age

        return passes


@contextmanager
def bad_network(target: int) -> Iterator[BadNetwork]:
    """Pass on connections to `target`, a port of loopback, until the block ends; yield what makes it bad."""
    network = BadNetwork(target)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        network.open()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()
        await network.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="bad-network", daemon=True)
    thread.start()
    loop, over = started.result(TIMEOUT_S)
    try:
        yield network
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
