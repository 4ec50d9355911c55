"""Lanes, as the API has them."""

from typing import Annotated

from fastapi import APIRouter, Query

from streamstop import LaneView
from streamstop_server.auth import Reader
from streamstop_server.queue import Queue

router = APIRouter(tags=["lanes"])


@router.get("/lanes")
async def lanes(
    caller: Reader,
    queue: Queue,
    account: Annotated[list[str] | None, Query(description="Only lanes of these accounts.")] = None,
    recent: Annotated[bool, Query(description="Also lanes that were at work within 15 minutes.")] = False,
) -> list[LaneView]:
    """Return the lanes that hold jobs."""
    views = await queue.lanes(accounts=account, recent=recent)
    return [view for view in views if caller.may_touch(view.account)]
