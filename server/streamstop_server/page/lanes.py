"""The screen of all lanes."""

from fastapi import APIRouter, Request, Response

from streamstop_server.page.shell import Viewer, render, wants_fragment
from streamstop_server.queue import Queue

router = APIRouter()


@router.get("/")
async def lanes(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Show the lanes."""
    accounts = viewer.accounts and sorted(viewer.accounts)
    views = await queue.lanes(accounts=accounts, recent=True)
    template = "lanes_table.html" if wants_fragment(request) else "lanes.html"
    return render(request, template, lanes=views)
