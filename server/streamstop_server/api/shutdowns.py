"""Shutdowns, as the API has them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from streamstop import Outcome, ShutdownStatus
from streamstop_server.access.auth import Enqueuer, Reader
from streamstop_server.access.coverage import check_shutdown, covered_progress
from streamstop_server.access.tokens import Caller
from streamstop_server.http.documented import errors
from streamstop_server.queue.client import Queue
from streamstop_server.waiting.followed_shutdown import ShutdownProgress, Snapshot
from streamstop_server.waiting.following import following_of, states_for
from streamstop_server.waiting.streams import EventStream
from streamstop_server.waiting.waits import LONGEST_POLL_S, poll

router = APIRouter(tags=["shutdowns"])

ShutdownId = Annotated[str, Path(description="The shutdown's id.", pattern=r"^[0-9A-Za-z-]{1,64}$")]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    204: {"description": "`Last-Event-ID` is that of the event `end`: there is nothing more."},
}


class OutcomePageDocument(BaseModel):
    """A page of outcomes."""

    outcomes: Annotated[list[Outcome], Field(description="In no order.")]
    next: Annotated[str | None, Field(description="The cursor of the next page; null after the last.")]


@router.get("/shutdowns")
async def recent_shutdowns(
    caller: Reader,
    queue: Queue,
    limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
) -> list[ShutdownProgress]:
    """Return the open shutdowns, oldest first, and then the latest ended ones, newest first."""
    shutdowns = await queue.recent_shutdowns(limit)
    found = await asyncio.gather(*(covered_progress(caller, shutdown) for shutdown in shutdowns))
    return [ShutdownProgress.of(progress) for progress in found if progress is not None]


@router.get("/shutdowns/{shutdown_id}", response_model=ShutdownProgress, responses=errors(404))
async def look_at_shutdown(
    shutdown_id: ShutdownId,
    request: Request,
    caller: Reader,
    queue: Queue,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_POLL_S, description="Wait so many seconds at most until it has ended.")
    ] = 0.0,
) -> Response:
    """Return the progress of a shutdown; with `wait`, when it has ended, or at the end of the wait."""
    shutdown = queue.shutdown(shutdown_id)
    snapshot = None
    if wait:
        if caller.accounts is not None:
            await check_shutdown(caller, shutdown, await shutdown.progress())
        snapshot = await poll(request, _ended(request, shutdown_id, wait), None)
    if snapshot is None:
        snapshot = Snapshot(await shutdown.progress())
    await check_shutdown(caller, shutdown, snapshot.progress)
    return Response(snapshot.json, media_type="application/json")


@router.get(
    "/shutdowns/{shutdown_id}/events",
    response_class=Response,
    responses=errors(404) | _STREAM,
)
async def follow_shutdown(
    shutdown_id: ShutdownId,
    request: Request,
    caller: Reader,
    queue: Queue,
    last_event_id: Annotated[
        str | None, Header(description="The `id` of the last event that the client has seen.")
    ] = None,
) -> Response:
    """Send the progress at once and after changes, once a second at most, until the shutdown has ended.

    Each event is a whole state, `progress` or at last `end`, and its `id` names the state. A client that connects again
    with `Last-Event-ID` gets the state as it is now, if it differs from the one that it has seen: states between the
    two are left out, the last one never is. Where it has seen `end`, the answer is 204, and an EventSource stops.
    `reconnect` means that the process ends: connect again.
    """
    shutdown = queue.shutdown(shutdown_id)
    first = Snapshot(await shutdown.progress())
    await check_shutdown(caller, shutdown, first.progress)
    if first.is_final and first.id == last_event_id:
        return Response(status_code=204)
    return EventStream(request, _frames(request, caller, shutdown_id, last_event_id))


@router.get("/shutdowns/{shutdown_id}/outcomes", responses=errors(404))
async def outcomes_of_shutdown(
    shutdown_id: ShutdownId,
    caller: Reader,
    queue: Queue,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="About how many outcomes a page has.")] = 100,
) -> OutcomePageDocument:
    """Return the outcomes of the stream tasks that have ended, page by page."""
    shutdown = queue.shutdown(shutdown_id)
    await check_shutdown(caller, shutdown, await shutdown.progress())
    page = await shutdown.outcome_page(cursor, most=limit)
    return OutcomePageDocument.model_construct(outcomes=list(page.outcomes), next=page.next)


@router.delete("/shutdowns/{shutdown_id}", responses=errors(404))
async def cancel_shutdown(shutdown_id: ShutdownId, caller: Enqueuer, queue: Queue) -> ShutdownProgress:
    """Cancel the stops that no worker has begun, and return the progress. A shutdown that has ended stays as it is.

    The stream tasks of cancelled stops stay registered in the room.
    """
    shutdown = queue.shutdown(shutdown_id)
    progress = await shutdown.progress()
    await check_shutdown(caller, shutdown, progress)
    if progress.status is ShutdownStatus.OPEN:
        await shutdown.cancel(by=caller.name)
    return ShutdownProgress.of(await shutdown.progress())


async def _ended(request: Request, shutdown_id: str, seconds: float) -> Snapshot | None:
    """Return the state with which a shutdown has ended, or its state after `seconds`; None if that is not known."""
    snapshot = None
    async with following_of(request).shutdown(shutdown_id) as followed:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (snapshot := await followed.latest()).is_final:
                    await followed.change(followed.version, seconds)
    return snapshot


async def _frames(
    request: Request, caller: Caller, shutdown_id: str, seen: str | None
) -> AsyncGenerator[bytes | None, None]:
    async with aclosing(states_for(request, caller, shutdown_id, seen=seen)) as states:
        async for snapshot in states:
            yield None if snapshot is None else snapshot.frame
