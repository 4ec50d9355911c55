"""Live: streams that tell a screen when to ask for its changing parts again.

Each stream sends ``changed`` at most once a second. The browser then asks for the part (``hx-trigger="sse:changed"``).
So what is shown is rendered in one place, and a stream carries no contents.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import format_sse_event

from streamstop import StreamstopError
from streamstop_server.page.lane_feed import SharedLanes
from streamstop_server.page.shell import viewer
from streamstop_server.waiting.followed import EVERY_S, Followed
from streamstop_server.waiting.following import following_of
from streamstop_server.waiting.streams import EventStream

router = APIRouter(prefix="/live", dependencies=[Depends(viewer)])

#: A frame of every stream for a screen.
CHANGED = format_sse_event(data_str="{}", event="changed")
#: How often screens are told without a change, in seconds, for ages grow on them.
_TELL_AGAIN_S = 10.0


@router.get("/lanes")
async def of_lanes(request: Request, lanes: SharedLanes) -> Response:
    """Tell when a lane, a pause, a hold or a limit has changed."""
    return EventStream(request, _changes(lanes.follow()))


@router.get("/events")
async def of_events(request: Request) -> Response:
    """Tell when there is a new event."""
    return EventStream(request, _changes(following_of(request).events.follow()))


@router.get("/clock")
async def clock(request: Request) -> Response:
    """Tell once a second."""
    return EventStream(request, _ticks())


async def _changes(following: AbstractAsyncContextManager[Followed]) -> AsyncGenerator[bytes | None, None]:
    try:
        async with following as followed:
            while True:
                version = followed.version
                yield CHANGED
                await followed.change(version, _TELL_AGAIN_S)
    except StreamstopError:
        yield CHANGED  # the screen tells what failed
        raise


async def _ticks() -> AsyncGenerator[bytes | None, None]:
    while True:
        yield CHANGED
        await asyncio.sleep(EVERY_S)
