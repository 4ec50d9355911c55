"""The screen Drain: counts the jobs that would be cancelled, and cancels them after a person has agreed."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from streamstop import AsyncClient
from streamstop_server.access.auth import check_account
from streamstop_server.access.tokens import Caller
from streamstop_server.page.forms import form_of, seconds
from streamstop_server.page.lane_feed import SharedLanes
from streamstop_server.page.shell import Viewer, actor_name, render
from streamstop_server.queue.client import Queue
from streamstop_server.queue.lanes import drained_of

router = APIRouter()


@router.get("/drain")
async def count(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Count what would be cancelled, and change nothing."""
    return await _drain(request, viewer, queue, request.query_params, dry_run=True)


@router.post("/drain")
async def drain(request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes) -> Response:
    """Cancel the jobs, and tell how many there were."""
    answer = await _drain(request, viewer, queue, await form_of(request), dry_run=False)
    await feed.refresh()
    return answer


async def _drain(
    request: Request, viewer: Caller, queue: AsyncClient, fields: Mapping[str, str], *, dry_run: bool
) -> Response:
    account, room, older_than = (fields.get(name, "") for name in ("account", "room", "older_than"))
    check_account(viewer, account)
    age = seconds(fields, "older_than")
    drained = await drained_of(
        queue,
        account,
        fields.get("operation") or None,
        older_than=age,
        room=room or None,
        dry_run=dry_run,
        by=actor_name(viewer),
    )
    return render(request, "drain.html", drained=drained, older_than=older_than, age=age, room=room)
