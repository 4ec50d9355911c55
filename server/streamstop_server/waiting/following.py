"""Following: what changes is read once for everybody in this process who waits for it.

One task reads a shutdown's progress, and one reads the events, for as long as somebody follows. Followers look at what
the task has read, so their number costs Redis nothing.
"""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cached_property
from typing import Generic, TypeVar

from fastapi import Request
from fastapi.sse import format_sse_event
from pydantic import computed_field

from streamstop import AsyncClient, Event, Progress, ShutdownStatus
from streamstop_server.waiting.ending import Ending

#: The shortest time between two changes that followers see, in seconds. They see an end at once.
EVERY_S = 1.0
#: How many events are kept for followers that lag behind.
_EVENTS_KEPT = 1000
#: How many events one read of Redis brings.
_EVENTS_READ = 100
#: What changes without anything happening to the shutdown.
_VOLATILE = {"lanes": {"__all__": {"rests", "backlog", "state_text"}}}

_T = TypeVar("_T")


class ShutdownProgress(Progress):
    """The progress of a shutdown, with what follows from it."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ended(self) -> int:
        """Stream tasks that have ended."""
        return sum(self.results.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pending(self) -> int:
        """Stream tasks that have not ended."""
        return self.total - self.ended

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_left(self) -> float | None:
        """The expected seconds until the last stream task has ended; null: unknown."""
        return super().seconds_left

    @classmethod
    def of(cls, progress: Progress) -> "ShutdownProgress":
        """Return a progress with what follows from it."""
        return cls.model_construct(**dict(progress))


class Snapshot:
    """A progress at one moment, as followers get it. It is encoded once for all of them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        state = progress.model_dump_json(exclude=_VOLATILE)
        #: Names the state: the same in every process, and after a restart.
        self.id = hashlib.sha256(state.encode()).hexdigest()[:16]

    @property
    def is_final(self) -> bool:
        """Whether the shutdown has ended."""
        return self.progress.status is not ShutdownStatus.OPEN

    @cached_property
    def json(self) -> str:
        """The progress as JSON."""
        return ShutdownProgress.of(self.progress).model_dump_json()

    @cached_property
    def frame(self) -> bytes:
        """The progress as a server-sent event."""
        return format_sse_event(data_str=self.json, event="end" if self.is_final else "progress", id=self.id)


class Followed(ABC, Generic[_T]):
    """A source that one task reads. Whoever follows looks, and waits for :meth:`change` if there is nothing new."""

    def __init__(self, source: AsyncGenerator[_T, None]) -> None:
        self.followers = 0
        self.error: Exception | None = None
        self.is_over = False
        self._changed = asyncio.Event()
        self._may_wake_at = 0.0
        self._waking: asyncio.TimerHandle | None = None
        self.task = asyncio.create_task(self._read(source))

    @abstractmethod
    def put(self, item: _T) -> None:
        """Keep what was read."""

    async def change(self, seconds: float) -> bool:
        """Return True after the next change, False after `seconds` without one. Raises what the source has raised."""
        if self.error is not None:
            raise self.error
        changed = self._changed
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()
        return changed.is_set()

    def wake(self) -> None:
        """Let the followers look."""
        self._waking = None
        self._may_wake_at = asyncio.get_running_loop().time() + EVERY_S
        self._changed.set()
        self._changed = asyncio.Event()

    def wake_soon(self) -> None:
        """Let the followers look, at most once in :data:`EVERY_S`."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._may_wake_at:
            self.wake()
        elif self._waking is None:
            self._waking = loop.call_at(self._may_wake_at, self.wake)

    def stop(self) -> None:
        """Read no more."""
        self.task.cancel()
        if self._waking is not None:
            self._waking.cancel()

    async def _read(self, source: AsyncGenerator[_T, None]) -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    self.put(item)
        except Exception as error:  # noqa: BLE001  # followers raise it
            self.error = error
        finally:
            self.is_over = True
            self.wake()


class FollowedShutdown(Followed[Progress]):
    """A shutdown's progress. Followers see the latest state; states between two looks are left out."""

    _latest: Snapshot | None = None

    def put(self, item: Progress) -> None:
        """Keep the progress if it differs from the latest."""
        snapshot = Snapshot(item)
        if self._latest is not None and self._latest.id == snapshot.id:
            return
        is_first, self._latest = self._latest is None, snapshot
        if is_first or snapshot.is_final:
            self.wake()
        else:
            self.wake_soon()

    async def latest(self) -> Snapshot:
        """Return the latest state, and wait for the first one."""
        while self._latest is None:
            await self.change(EVERY_S)
        return self._latest


class FollowedEvents(Followed[Event]):
    """The latest events, in the order of their ids."""

    def __init__(self, client: AsyncClient, after: str) -> None:
        self._client = client
        self._kept: deque[tuple[Event, bytes]] = deque(maxlen=_EVENTS_KEPT)
        #: Every event after this one that has been read is kept.
        self._complete_after = after
        self.newest = after
        super().__init__(client.follow_events(after=after))

    def put(self, item: Event) -> None:
        """Keep an event."""
        if len(self._kept) == self._kept.maxlen:
            self._complete_after = self._kept[0][0].id
        self._kept.append((item, event_frame(item)))
        self.newest = item.id
        self.wake_soon()

    async def after(self, event_id: str) -> tuple[str, list[tuple[Event, bytes]]]:
        """Return events that come after `event_id`, and the id from which to go on. They are read if need be."""
        position = _order(event_id)
        if position >= _order(self._complete_after):
            return max(event_id, self.newest, key=_order), [
                each for each in self._kept if _order(each[0].id) > position
            ]
        events = await self._client.events(after=event_id, most=_EVENTS_READ)
        going_on = events[-1].id if events else self._complete_after
        return going_on, [(event, event_frame(event)) for event in events]


class Following:
    """What is followed in this process."""

    def __init__(self, client: AsyncClient, ending: Ending) -> None:
        self._client = client
        self._shutdowns: dict[str, FollowedShutdown] = {}
        self._events: FollowedEvents | None = None
        self._beginning = asyncio.Lock()
        ending.at_begin(self._wake_all)

    @property
    def count(self) -> int:
        """How many sources are read."""
        return len(self._shutdowns) + (self._events is not None)

    @asynccontextmanager
    async def shutdown(self, shutdown_id: str) -> AsyncGenerator[FollowedShutdown, None]:
        """Follow a shutdown in the block."""
        followed = self._shutdowns.get(shutdown_id)
        if followed is None or followed.is_over:
            followed = FollowedShutdown(self._client.shutdown(shutdown_id).watch())
            self._shutdowns[shutdown_id] = followed
        followed.followers += 1
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                followed.stop()
                if self._shutdowns.get(shutdown_id) is followed:
                    del self._shutdowns[shutdown_id]

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[FollowedEvents, None]:
        """Follow the events in the block."""
        async with self._beginning:
            if self._events is None or self._events.is_over:
                newest = await self._client.events(most=1)
                self._events = FollowedEvents(self._client, newest[-1].id if newest else "0-0")
            followed = self._events
            followed.followers += 1
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                followed.stop()
                if self._events is followed:
                    self._events = None

    def _wake_all(self) -> None:
        for followed in self._shutdowns.values():
            followed.wake()
        if self._events is not None:
            self._events.wake()


def event_frame(event: Event) -> bytes:
    """Return an event as a server-sent event."""
    return format_sse_event(data_str=event.model_dump_json(), id=event.id)


def following_of(request: Request) -> Following:
    """Return what the application follows."""
    found: Following = request.app.state.following
    return found


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)
