"""Ending: lets long polls answer and streams end when the process is told to stop."""

import asyncio
import signal
import threading
from collections.abc import Awaitable
from contextlib import suppress
from types import FrameType
from typing import TypeVar

from fastapi import Request

_T = TypeVar("_T")


class Ending:
    """Whether the process ends. Create it in the event loop."""

    def __init__(self) -> None:
        #: Whether the process was told to stop.
        self.has_begun = False
        self._calls: set[asyncio.Timeout] = set()

    def begin(self) -> None:
        """End long polls and streams."""
        if not self.has_begun:
            self.has_begun = True
            for call in self._calls:
                call.reschedule(asyncio.get_running_loop().time())

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
        """Return what `call` returns; `default` if the process ends first. `call` is cancelled then."""
        bound = asyncio.timeout(0 if self.has_begun else None)
        self._calls.add(bound)
        try:
            async with bound:
                return await call
        except TimeoutError:
            if not bound.expired():
                raise
            return default
        finally:
            self._calls.discard(bound)


def ending_of(request: Request) -> Ending:
    """Return the application's ending."""
    found: Ending = request.app.state.ending
    return found
