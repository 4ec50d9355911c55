"""Event log: the events that Redis keeps, in memory, for the streams of the API and the screens of the page."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from itertools import takewhile
from typing import Self

from fastapi.sse import format_sse_event

from streamstop import AsyncClient, Event, StreamstopError
from streamstop._core.journal import event_order
from streamstop_server.waiting.followed import FollowedSource

#: How many events are kept: all that Redis keeps, which are 10,000 and at times some more.
_KEPT = 11_000


class LoggedEvent:
    """An event, as followers get it. It is encoded once for all of them."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.order = event_order(event.id)

    @cached_property
    def frame(self) -> bytes:
        """The event as a server-sent event."""
        return format_sse_event(data_str=self.event.model_dump_json(), id=self.event.id)


class EventLog(FollowedSource[Event]):
    """The events. Those that happen while nobody follows are read when somebody looks."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self._client = client
        self._kept: deque[LoggedEvent] = deque(maxlen=_KEPT)
        self._catching_up = asyncio.Lock()
        self._failure: StreamstopError | None = None

    @property
    def newest(self) -> tuple[int, int]:
        """The order of the newest event."""
        return self._kept[-1].order if self._kept else (0, 0)

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[Self, None]:
        """Follow in the block. Every event before it is in the log."""
        await self._catch_up()
        async with super().follow():
            yield self

    def source(self) -> AsyncGenerator[Event, None]:
        """Return the events that come after the newest one."""
        return self._client.follow_events(after=self._after)

    def put(self, item: Event) -> None:
        """Keep an event, unless it is kept: two reads may bring it."""
        logged = LoggedEvent(item)
        if logged.order > self.newest:
            self._kept.append(logged)
            self.wake_soon()

    def after(self, order: tuple[int, int]) -> Sequence[LoggedEvent]:
        """Return the events of greater orders, oldest first."""
        return list(takewhile(lambda logged: logged.order > order, reversed(self._kept)))[::-1]

    async def latest(self) -> tuple[Sequence[Event], str]:
        """Return all events, newest first, and why those since the last read are not among them; '' if they are."""
        problem = ""
        try:
            await self._catch_up()
        except StreamstopError as error:
            if not self._kept:
                raise
            problem = str(error)
        return [logged.event for logged in reversed(self._kept)], problem

    @property
    def _after(self) -> str:
        return self._kept[-1].event.id if self._kept else "0-0"

    async def _catch_up(self) -> None:
        """Read what has happened while nobody followed.

        A read that fails fails for everybody who has waited for it. While Redis is away, one after another would wait
        for the timeout.
        """
        before = self._failure
        async with self._catching_up:
            if self.is_read:
                return
            if self._failure is not None and self._failure is not before:
                raise self._failure
            try:
                missed = await self._client.events(after=self._after)
            except StreamstopError as error:
                self._failure = error
                raise
            for event in missed:
                self.put(event)
