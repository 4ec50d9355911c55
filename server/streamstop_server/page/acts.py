"""What people on call do with lanes: pause, resume, set and clear limits."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from streamstop.operations import OPERATIONS
from streamstop_server.access.auth import check_account
from streamstop_server.access.scopes import check_scope_of
from streamstop_server.http.problems import Problem
from streamstop_server.page.forms import form_of, number, own_path, seconds
from streamstop_server.page.lane_feed import LaneFeed, SharedLanes
from streamstop_server.page.shell import Viewer, actor_name, go_to
from streamstop_server.queue.client import Queue

router = APIRouter()


@router.post("/pauses")
async def pause(request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes) -> Response:
    """Pause a scope."""
    fields = await form_of(request)
    scope = check_scope_of(viewer, fields.get("scope", ""))
    await queue.pause(scope, lasting=seconds(fields, "for"), reason=fields.get("reason", ""), by=actor_name(viewer))
    return await _done(request, feed, fields)


@router.post("/pauses/end")
async def resume(request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes) -> Response:
    """End a pause, or a hold. Where somebody else has ended it, nothing is left to do."""
    fields = await form_of(request)
    await queue.resume(check_scope_of(viewer, fields.get("scope", "")), by=actor_name(viewer))
    return await _done(request, feed, fields)


@router.post("/limits")
async def set_limit(request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes) -> Response:
    """Set the limit of a lane."""
    fields = await form_of(request)
    account, operation = fields.get("account", ""), fields.get("operation", "")
    check_account(viewer, account)
    limit, above_vendor = number(fields, "limit"), "above_vendor" in fields
    declared = OPERATIONS.get(operation)
    if declared is not None and limit > declared.spec.limit and not above_vendor:
        detail = (
            f"The vendor's limit of {operation} is {declared.spec.limit:g} calls per second. "
            "Set a lower one, or tick the box that allows more."
        )
        raise Problem(422, "invalid-value", detail, field="limit")
    await queue.set_limit(
        account,
        operation,
        limit,
        lasting=seconds(fields, "for"),
        reason=fields.get("reason", ""),
        above_vendor=above_vendor,
        by=actor_name(viewer),
    )
    return await _done(request, feed, fields)


@router.post("/limits/end")
async def clear_limit(request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes) -> Response:
    """End the limit that somebody has set for a lane."""
    fields = await form_of(request)
    account, operation = fields.get("account", ""), fields.get("operation", "")
    check_account(viewer, account)
    await queue.clear_limit(account, operation, by=actor_name(viewer))
    return await _done(request, feed, fields)


async def _done(request: Request, feed: LaneFeed, fields: Mapping[str, str]) -> Response:
    """Return to the screen from which somebody acted, which shows the act."""
    await feed.refresh()
    return go_to(request, own_path(fields.get("back", "/")))
