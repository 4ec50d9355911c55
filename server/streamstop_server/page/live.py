"""Live: streams that tell a screen when to ask for its changing parts again.

Each stream sends ``changed`` at most once a second. The browser then asks for the part (``hx-trigger="sse:changed"``).
So what is shown is rendered in one place, and a stream carries no contents.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import format_sse_event

from streamstop import AsyncClient, Event, Hold, LaneView, Limit, Pause
from streamstop_server.access.scopes import is_seen
from streamstop_server.access.tokens import Caller
from streamstop_server.page.call_history import STEP_S, CallHistory
from streamstop_server.page.feed import EVERY_S, Feed
from streamstop_server.page.shell import viewer
from streamstop_server.waiting.ending import ending_of
from streamstop_server.waiting.streams import EventStream, reconnect

router = APIRouter(prefix="/live", dependencies=[Depends(viewer)])

#: A frame of every stream for a screen.
CHANGED = format_sse_event(data_str="{}", event="changed")
#: How many events are kept in memory: as many as Redis keeps.
EVENTS_KEPT = 10_000


@dataclass(frozen=True)
class LanesNow:
    """The lanes that hold jobs or lately held some, and what people and refused keys have set."""

    views: Sequence[LaneView]
    pauses: Sequence[Pause]
    holds: Sequence[Hold]
    limits: Sequence[Limit]

    def of(self, caller: Caller) -> "LanesNow":
        """Return what `caller` may see. The steps of shutdowns are left out, unless they hold jobs."""
        return LanesNow(
            [v for v in self.views if caller.may_touch(v.account) and (v.backlog or not v.account.startswith("_"))],
            [pause for pause in self.pauses if is_seen(caller, pause.scope)],
            [hold for hold in self.holds if caller.may_touch(hold.account)],
            [limit for limit in self.limits if caller.may_touch(limit.account)],
        )


class Feeds:
    """What screens of all viewers share: each is read once for all of them."""

    lanes: Feed[LanesNow]
    #: The latest events, oldest first.
    events: Feed[Sequence[Event]]

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.calls = CallHistory()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    async def __aenter__(self) -> Self:
        self.lanes = Feed(self._read_lanes, idle_s=STEP_S)
        self.events = Feed(self._read_events)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.lanes.close()
        await self.events.close()

    async def _read_lanes(self) -> tuple[LanesNow, object]:
        views = await self._client.lanes(recent=True)
        now = LanesNow(views, await self._client.pauses(), await self._client.holds(), await self._client.limits())
        self.calls.add(views, time.time())
        contents = [{name: value for name, value in view.__dict__.items() if name != "at"} for view in views]
        rates = [self.calls.rate(view.lane) for view in views]
        return now, (contents, rates, now.pauses, now.holds, now.limits)

    async def _read_events(self) -> tuple[Sequence[Event], object]:
        last = self._events[-1].id if self._events else None
        self._events.extend(await self._client.events(after=last))
        return self._events, self._events[-1].id if self._events else ""


async def feeds_of(request: Request) -> Feeds:
    """Return the feeds of this process."""
    found: Feeds = request.app.state.feeds
    return found


#: The feeds, as a parameter of a route.
Shared = Annotated[Feeds, Depends(feeds_of)]


async def _changed(feed: Feed[Any]) -> AsyncGenerator[bytes, None]:
    async with aclosing(feed.changes()) as changes:
        async for _ in changes:
            yield CHANGED


async def _frames(request: Request, source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes | None, None]:
    async for frame in ending_of(request).until(source):
        yield frame
    yield reconnect()


@router.get("/lanes")
async def of_lanes(request: Request, feeds: Shared) -> Response:
    """Tell when a lane, a pause, a hold or a limit has changed."""
    return EventStream(request, _frames(request, _changed(feeds.lanes)))


@router.get("/events")
async def of_events(request: Request, feeds: Shared) -> Response:
    """Tell when there is a new event."""
    return EventStream(request, _frames(request, _changed(feeds.events)))


async def _ticks() -> AsyncGenerator[bytes, None]:
    while True:
        yield CHANGED
        await asyncio.sleep(EVERY_S)


@router.get("/clock")
async def clock(request: Request) -> Response:
    """Tell once a second."""
    return EventStream(request, _frames(request, _ticks()))
