"""The screen Events: what happened to lanes, accounts and workers, newest first."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from streamstop._core.journal import EventKind
from streamstop_server.access.coverage import covers_event
from streamstop_server.page.shell import Viewer, render, wants_fragment
from streamstop_server.waiting.following import following_of

router = APIRouter()

#: How many events one page shows.
PAGE = 100


@router.get("/events")
async def events(
    request: Request,
    viewer: Viewer,
    *,
    account: Annotated[str, Query(max_length=200)] = "",
    kind: Annotated[str, Query(max_length=50)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """Show the events."""
    account = account.strip()
    latest, problem = await following_of(request).events.latest()
    fitting = [
        event
        for event in latest
        if covers_event(viewer, event) and account in ("", event.account) and kind in ("", event.kind)
    ]
    pages = max(1, -(-len(fitting) // PAGE))
    page = min(page, pages)
    return render(
        request,
        "events_live.html" if wants_fragment(request) else "events.html",
        events=fitting[(page - 1) * PAGE : page * PAGE],
        account=account,
        kind=kind,
        kinds=list(EventKind),
        page=page,
        pages=pages,
        problem=problem,
    )
