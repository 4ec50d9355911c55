"""Feed: one value that all viewers share, and that one task reads for all of them."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

from streamstop import StreamstopError

_T = TypeVar("_T")
_log = structlog.get_logger("streamstop.server")

#: The shortest time between two reads, in seconds.
EVERY_S = 1.0
#: How long a screen waits for a newer value while there is an older one.
PATIENCE_S = 0.1
#: How often watchers are told without a change, for ages grow on screens.
_TELL_AGAIN_S = 10.0


class Feed(Generic[_T]):
    """A value, read at most once a second while somebody watches, else every `idle_s` seconds, or when it is asked for.

    `read` returns the value, and a stamp that differs when the value does. Create a feed in the event loop.
    """

    def __init__(self, read: Callable[[], Awaitable[tuple[_T, object]]], *, idle_s: float = math.inf) -> None:
        self._read = read
        self._idle_s = idle_s
        self._value: _T | None = None
        self._stamp: object = None
        self._began_at = self._read_at = -math.inf
        self._failure: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._watched = asyncio.Event()
        self._watchers = 0
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the reads."""
        for task in (self._task, self._reading):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    @property
    def problem(self) -> str:
        """Why the last read failed; '' if it did not."""
        return "" if self._failure is None else str(self._failure)

    async def latest(self) -> _T:
        """Return the value. It is at most a second old if it can be read soon; else it is the last one.

        Raises what the read raised if nothing was ever read.
        """
        is_old = not self._watchers and time.monotonic() - self._read_at > EVERY_S  # while somebody watches, it is new
        if is_old or self._value is None:
            await asyncio.wait({self._begin()}, timeout=None if self._value is None else PATIENCE_S)
        return self._known()

    async def refresh(self) -> _T:
        """Return the value as it is from now on, such as after an act."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        await asyncio.wait({self._begin()})
        return self._known()

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield at once, after each change, and every ten seconds."""
        self._watchers += 1
        self._watched.set()
        try:
            while True:
                changed = self._changed
                yield
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TELL_AGAIN_S):
                        await changed.wait()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._watched.clear()

    async def _run(self) -> None:
        while True:
            if self._watchers or self._idle_s < math.inf:
                await asyncio.wait({self._begin()})
            took = time.monotonic() - self._began_at
            if self._watchers:
                await asyncio.sleep(max(EVERY_S, 2 * took) - took)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_s if self._idle_s < math.inf else None):
                    await self._watched.wait()

    def _begin(self) -> asyncio.Task[None]:
        """Return the read under way; begin one if there is none."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_once())
        return self._reading

    async def _read_once(self) -> None:
        self._began_at = time.monotonic()
        failure: Exception | None = None
        try:
            value, stamp = await self._read()
        except StreamstopError as error:
            failure, stamp = error, str(error)
        except Exception as error:  # noqa: BLE001  # the next read must follow
            _log.exception("read for the page failed")
            failure, stamp = error, repr(error)
        else:
            self._value, self._read_at = value, time.monotonic()
        self._failure = failure
        if stamp != self._stamp:
            self._stamp = stamp
            self._changed.set()
            self._changed = asyncio.Event()

    def _known(self) -> _T:
        if self._value is None:
            assert self._failure is not None  # noqa: S101  # it was read, and either came or failed
            raise self._failure
        return self._value
