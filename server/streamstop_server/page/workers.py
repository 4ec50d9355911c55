"""The screen Workers."""

from fastapi import APIRouter, Request, Response

from streamstop._core.workers import distinct_differences
from streamstop_server.page.shell import Viewer, render, wants_fragment
from streamstop_server.queue.client import Queue
from streamstop_server.queue.fleet import seen_workers

router = APIRouter()


@router.get("/workers")
async def workers(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Show the workers, and the lanes for which their files have different limits."""
    seen = seen_workers(viewer, await queue.workers())
    template = "workers_live.html" if wants_fragment(request) else "workers.html"
    return render(request, template, workers=seen, differences=distinct_differences(seen))
