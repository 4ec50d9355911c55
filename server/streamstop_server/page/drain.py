"""The screen Drain: counts the jobs that would be cancelled, and cancels them after a person has agreed."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from streamstop_server.access.auth import check_account
from streamstop_server.page.forms import AGES, seconds
from streamstop_server.page.lane_feed import SharedLanes
from streamstop_server.page.shell import Viewer, actor_name, render
from streamstop_server.page.sign_in import form_of
from streamstop_server.queue.client import Queue
from streamstop_server.queue.lanes import drained_of

router = APIRouter()


@router.get("/drain")
async def count(
    request: Request,
    viewer: Viewer,
    queue: Queue,
    *,
    account: str,
    operation: str = "",
    older_than: Annotated[str, Query(max_length=20)] = "",
    room: str = "",
) -> Response:
    """Count what would be cancelled, and change nothing."""
    check_account(viewer, account)
    age = seconds({"older_than": older_than}, "older_than")
    drained = await drained_of(
        queue,
        account,
        operation or None,
        older_than=age,
        room=room or None,
        dry_run=True,
        by=actor_name(viewer),
    )
    return render(request, "drain.html", drained=drained, older_than=older_than, age=age, room=room, ages=AGES)


@router.post("/drain")
async def drain(request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes) -> Response:
    """Cancel the jobs, and tell how many there were."""
    fields = await form_of(request)
    account, room = fields.get("account", ""), fields.get("room", "")
    check_account(viewer, account)
    age = seconds(fields, "older_than")
    drained = await queue.drain(
        account,
        fields.get("operation") or None,
        older_than=age,
        room=room or None,
        by=actor_name(viewer),
    )
    await feed.refresh()
    return render(
        request, "drain.html", drained=drained, older_than=fields.get("older_than", ""), age=age, room=room, ages=AGES
    )
