"""The screens Rooms and Room."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from streamstop import AsyncClient, Progress, ShutdownStatus
from streamstop._core.lane_view import NO_ESTIMATE
from streamstop._core.membership import check_room
from streamstop_server.access.coverage import check_room as check_covered
from streamstop_server.access.coverage import covered_progress, covered_room
from streamstop_server.access.tokens import Caller
from streamstop_server.http.segments import ROOM
from streamstop_server.page.forms import form_of
from streamstop_server.page.shell import Viewer, actor_name, go_to, render, room_path, wants_fragment
from streamstop_server.queue.client import Queue

router = APIRouter()

#: How many shutdowns, or registered stream tasks, one page shows.
_SHUTDOWNS, _TASKS = 50, 100


@router.get("/rooms")
async def rooms(
    request: Request,
    viewer: Viewer,
    queue: Queue,
    *,
    room: str = "",
    act: str = "",
    page: Annotated[int, Query(ge=1, le=200)] = 1,
) -> Response:
    """Show the open and recent shutdowns; or the room that was asked for."""
    if room:
        path = room_path(check_room(room), act=act)
        if path.startswith("/rooms/"):
            return RedirectResponse(path, status_code=303)
        return await _room(request, viewer, queue, room, act=act, cursor=None)
    found = await queue.recent_shutdowns(page * _SHUTDOWNS + 1)
    on_page = found[(page - 1) * _SHUTDOWNS : page * _SHUTDOWNS]
    shown = await asyncio.gather(*(covered_progress(viewer, one) for one in on_page))
    return render(
        request,
        "rooms_table.html" if wants_fragment(request) else "rooms.html",
        shutdowns=sorted(filter(None, shown), key=_urgency),
        open_count=await queue.count_open_shutdowns() if viewer.accounts is None else None,
        page=page,
        more=len(found) > page * _SHUTDOWNS,
    )


@router.post("/rooms")
async def stop(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Stop a room."""
    form = await form_of(request)
    room = check_room(form.get("room", ""))
    await check_covered(viewer, queue, room)
    shutdown = await queue.stop_room(room, verify="verify" in form, by=actor_name(viewer))
    return go_to(request, f"/shutdowns/{shutdown.id}")


@router.get(ROOM)
async def room(
    request: Request, viewer: Viewer, queue: Queue, room: str, *, act: str = "", cursor: str | None = None
) -> Response:
    """Show a room: the registered stream tasks by pages, and its shutdown."""
    return await _room(request, viewer, queue, check_room(room), act=act, cursor=cursor)


async def _room(
    request: Request, viewer: Caller, queue: AsyncClient, name: str, *, act: str, cursor: str | None
) -> Response:
    seen = await covered_room(viewer, queue, name, cursor, _TASKS)
    return render(
        request,
        "room.html",
        room=seen,
        tasks=seen.tasks,
        total=seen.total,
        shutdown=seen.shutdown,
        asks=act == "stop",
        verify="verify" in request.query_params,
        cursor=cursor,
    )


def _urgency(progress: Progress) -> int:
    """Return where a shutdown stands: first open ones with trouble, open ones, those that need attention, the rest."""
    is_open = progress.status is ShutdownStatus.OPEN
    if not is_open:
        return 2 if progress.status is ShutdownStatus.NEEDS_ATTENTION else 3
    waits = any(lane.ended < lane.total and lane.state in NO_ESTIMATE for lane in progress.lanes)
    return 0 if waits or any(result.needs_person for result in progress.results) else 1
