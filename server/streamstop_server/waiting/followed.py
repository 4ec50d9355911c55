"""Followed: what changes is read once for everybody in this process who waits for it.

Followers look at what was read, and wait for a change. Their number costs Redis nothing, and one that lags behind holds
up no other.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Generic, Self, TypeVar

#: The shortest time between two changes that followers see, in seconds. They see an end at once.
EVERY_S = 1.0

_T = TypeVar("_T")


class Followed(ABC):
    """What is read while somebody follows. Create it in the event loop."""

    def __init__(self) -> None:
        self.followers = 0
        #: Differs after each change.
        self.version = 0
        self._changed = asyncio.Event()
        self._may_wake_at = 0.0
        self._waking: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[Self, None]:
        """Follow in the block."""
        self.followers += 1
        try:
            self.begin()
            yield self
        finally:
            self.followers -= 1
            if not self.followers:
                self.end()

    @abstractmethod
    def begin(self) -> None:
        """Read from now on, unless that is so already: there is a new follower."""

    @abstractmethod
    def end(self) -> None:
        """Read no more: there is no follower left."""

    async def change(self, version: int, seconds: float) -> bool:
        """Return True when something has changed since `version`, False after `seconds` without a change."""
        if self.version == version:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        return self.version != version

    def wake(self) -> None:
        """Let the followers look."""
        self._waking = None
        self._may_wake_at = asyncio.get_running_loop().time() + EVERY_S
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def wake_soon(self) -> None:
        """Let the followers look, at most once in :data:`EVERY_S`."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._may_wake_at:
            self.wake()
        elif self._waking is None:
            self._waking = loop.call_at(self._may_wake_at, self.wake)


class FollowedSource(Followed, Generic[_T]):
    """A source of items that one task reads while somebody follows."""

    def __init__(self) -> None:
        super().__init__()
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def source(self) -> AsyncGenerator[_T, None]:
        """Return what is read."""

    @abstractmethod
    def put(self, item: _T) -> None:
        """Keep what was read."""

    @property
    def is_read(self) -> bool:
        """Whether the source is read now."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Read the source, again if it has failed."""
        if not self.is_read:
            self._error = None
            self._task = asyncio.create_task(self._read(self.source()))

    def end(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None

    async def change(self, version: int, seconds: float) -> bool:
        """Wait for a change. Raises what the source has raised."""
        if self._error is not None:
            raise self._error
        return await super().change(version, seconds)

    async def _read(self, source: AsyncGenerator[_T, None]) -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    self.put(item)
        except Exception as error:  # noqa: BLE001  # followers raise it
            if self._task is asyncio.current_task():  # a source that is read no more may fail while it closes
                self._error = error
        self.wake()
