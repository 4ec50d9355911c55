"""Ending: lets long polls answer and streams end when the process is told to stop, or their client is gone."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from types import FrameType
from typing import TypeVar

from fastapi import Request

_T = TypeVar("_T")


class Ending:
    """Whether the process ends. Create it in the event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._at_begin: list[Callable[[], None]] = []

    @property
    def has_begun(self) -> bool:
        """Whether the process was told to stop."""
        return self._event.is_set()

    def begin(self) -> None:
        """End long polls and streams."""
        self._event.set()
        for call in self._at_begin:
            call()

    def at_begin(self, call: Callable[[], None]) -> None:
        """Call `call` in the event loop when the process is told to stop."""
        self._at_begin.append(call)

    def listen(self) -> None:
        """Begin at SIGTERM or SIGINT, before the server handles the signal itself."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            handled = signal.getsignal(number)
            if not callable(handled):
                continue

            def handle(number: int, frame: FrameType | None, *, before: object = handled) -> None:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self.begin)
                before(number, frame)  # type: ignore[operator]

            signal.signal(number, handle)

    async def bounded(self, call: Awaitable[_T], default: _T) -> _T:
        """Return what `call` returns; `default` if the process ends first."""
        task, over = asyncio.ensure_future(call), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else default
        finally:
            for each in (task, over):
                each.cancel()
            await asyncio.gather(task, over, return_exceptions=True)

    async def until(self, source: AsyncGenerator[_T, None]) -> AsyncIterator[_T]:
        """Yield what `source` yields, until the process ends. `source` is closed then."""
        async with aclosing(source):
            while True:
                item = await self.bounded(anext(source, None), None)
                if item is None:
                    return
                yield item


def ending_of(request: Request) -> Ending:
    """Return the application's ending."""
    found: Ending = request.app.state.ending
    return found
