"""The screen Shutdown."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from streamstop import OutcomePage
from streamstop_server.page.covered import progress_for
from streamstop_server.page.shell import Viewer, actor_name, go_to, render, wants_fragment
from streamstop_server.problems import Problem
from streamstop_server.queue import Queue

router = APIRouter(prefix="/shutdowns")

#: How many outcomes one page shows.
_OUTCOMES = 50


@router.get("/{shutdown_id}")
async def shutdown(
    request: Request, viewer: Viewer, queue: Queue, shutdown_id: str, *, show: str = "", cursor: str | None = None
) -> Response:
    """Show a shutdown: its progress by lane, its results, and what needs attention."""
    progress = await progress_for(viewer, queue, shutdown_id)
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
    )


@router.post("/{shutdown_id}/cancel")
async def cancel(request: Request, viewer: Viewer, queue: Queue, shutdown_id: str) -> Response:
    """Cancel the jobs that no worker has claimed."""
    await progress_for(viewer, queue, shutdown_id)
    if not await queue.shutdown(shutdown_id).cancel(by=actor_name(viewer)):
        raise Problem(409, "not-open", "the shutdown is no longer open")
    return go_to(request, _path(shutdown_id))


def _path(shutdown_id: str) -> str:
    return f"/shutdowns/{quote(shutdown_id, safe='')}"
