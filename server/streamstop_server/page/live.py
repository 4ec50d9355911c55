"""Live: streams that tell a screen when to ask for its changing parts again.

Each stream sends ``changed`` at most once a second. The browser then asks for the part (``hx-trigger="sse:changed"``).
So what is shown is rendered in one place, and a stream carries no contents.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Self

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from streamstop import AsyncClient
from streamstop_server.ending import ending_of
from streamstop_server.page.shell import viewer
from streamstop_server.queue import Queue

router = APIRouter(prefix="/live", dependencies=[Depends(viewer)])

#: The shortest time between two changes, in seconds.
EVERY_S = 1.0


class Feeds:
    """What screens of all viewers share: each is read once for all of them."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.sleep(0)


async def _ticks() -> AsyncGenerator[ServerSentEvent, None]:
    while True:
        yield ServerSentEvent(event="changed", data="")
        await asyncio.sleep(EVERY_S)


@router.get("/clock", response_class=EventSourceResponse)
async def clock(request: Request) -> AsyncGenerator[ServerSentEvent, None]:
    """Tell once a second."""
    async for event in ending_of(request).until(_ticks()):
        yield event


@router.get("/shutdowns/{shutdown_id}", response_class=EventSourceResponse)
async def of_shutdown(shutdown_id: str, request: Request, queue: Queue) -> AsyncGenerator[ServerSentEvent, None]:
    """Tell when a shutdown has changed, until it has ended."""

    async def changes() -> AsyncGenerator[ServerSentEvent, None]:
        async for _ in queue.shutdown(shutdown_id).watch():
            yield ServerSentEvent(event="changed", data="")
            await asyncio.sleep(EVERY_S)

    with suppress(GeneratorExit):
        async for event in ending_of(request).until(changes()):
            yield event
