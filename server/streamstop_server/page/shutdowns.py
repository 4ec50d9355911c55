"""The screen Shutdown."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event

from streamstop import AsyncClient, OutcomePage, Progress, ShutdownStatus
from streamstop_server.access.coverage import check_shutdown
from streamstop_server.access.tokens import Caller
from streamstop_server.http.problems import Problem
from streamstop_server.page.live import CHANGED
from streamstop_server.page.shell import Viewer, actor_name, go_to, render, wants_fragment
from streamstop_server.queue.client import Queue
from streamstop_server.waiting.following import states_for
from streamstop_server.waiting.streams import EventStream

router = APIRouter()

#: How many outcomes one page shows.
_OUTCOMES = 50
_ENDED = format_sse_event(data_str="{}", event="ended")


@router.get("/shutdowns/{shutdown_id}")
async def shutdown(
    request: Request,
    viewer: Viewer,
    queue: Queue,
    shutdown_id: str,
    *,
    show: str = "",
    cursor: str | None = None,
    act: str = "",
) -> Response:
    """Show a shutdown: its progress by lane, its results, and what needs attention. `act` asks whether to cancel it."""
    progress = await _progress(viewer, queue, shutdown_id)
    attention = sum(count for result, count in progress.results.items() if result.needs_person)
    shows_all = show == "all"
    outcomes = OutcomePage((), None)
    if shows_all or attention:
        handle = queue.shutdown(shutdown_id)
        outcomes = await handle.outcome_page(cursor, most=_OUTCOMES, attention=not shows_all)
    return render(
        request,
        "shutdown_part.html" if wants_fragment(request) else "shutdown.html",
        progress=progress,
        own=_path(shutdown_id),
        attention=attention,
        outcomes=outcomes,
        shows_all=shows_all,
        cursor=cursor,
        asks=act == "cancel" and progress.status is ShutdownStatus.OPEN,
    )


@router.post("/shutdowns/{shutdown_id}/cancel")
async def cancel(request: Request, viewer: Viewer, queue: Queue, shutdown_id: str) -> Response:
    """Cancel the jobs that no worker has claimed."""
    await _progress(viewer, queue, shutdown_id)
    if not await queue.shutdown(shutdown_id).cancel(by=actor_name(viewer)):
        raise Problem(409, "not-open", "the shutdown is no longer open")
    return go_to(request, _path(shutdown_id))


@router.get("/live/shutdowns/{shutdown_id}")
async def live(request: Request, viewer: Viewer, queue: Queue, shutdown_id: str) -> Response:
    """Tell when a shutdown has changed, and at last that it has ended."""
    await _progress(viewer, queue, shutdown_id)
    return EventStream(request, _frames(request, viewer, shutdown_id))


async def _progress(viewer: Caller, queue: AsyncClient, shutdown_id: str) -> Progress:
    shutdown = queue.shutdown(shutdown_id)
    progress = await shutdown.progress()
    await check_shutdown(viewer, shutdown, progress)
    return progress


async def _frames(request: Request, viewer: Caller, shutdown_id: str) -> AsyncGenerator[bytes | None, None]:
    async with aclosing(states_for(request, viewer, shutdown_id)) as states:
        async for snapshot in states:
            yield None if snapshot is None else CHANGED
            if snapshot and snapshot.is_final:
                yield _ENDED


def _path(shutdown_id: str) -> str:
    return f"/shutdowns/{quote(shutdown_id, safe='')}"
