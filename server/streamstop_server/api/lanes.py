"""Lanes, as the API has them."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from streamstop import Drained, LaneView
from streamstop_server.access.auth import Operator, Reader, check_account
from streamstop_server.http.documented import errors
from streamstop_server.queue.client import Queue
from streamstop_server.queue.lanes import drained_of, view_of

router = APIRouter(tags=["lanes"])

_Account = Annotated[str, Path(examples=["live-cn"])]
_Operation = Annotated[str, Path(examples=["live.StopMPUTask"])]


class Drain(BaseModel):
    """Which jobs to cancel."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dry_run": False, "older_than": 7200}]})

    dry_run: Annotated[bool, Field(strict=True, description="Count the jobs, and change nothing.")] = True
    older_than: Annotated[
        float | None, Field(description="Only jobs that were enqueued more than so many seconds ago.")
    ] = None
    room: Annotated[str | None, Field(description="Only jobs of this room's shutdowns.")] = None


_AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_][a-z0-9_-]{0,62}$")]
_Chosen = Annotated[Drain, Body()]


@router.get("/lanes")
async def lanes(
    caller: Reader,
    queue: Queue,
    account: Annotated[list[_AccountName], Query(default_factory=list, description="Only lanes of these accounts.")],
    recent: Annotated[bool, Query(description="Also lanes that were at work within 15 minutes.")] = False,
) -> list[LaneView]:
    """Return the lanes that hold jobs."""
    views = await queue.lanes(accounts=account or None, recent=recent)
    return [view for view in views if caller.may_touch(view.account)]


@router.get("/lanes/{account}/{operation}", responses=errors(404))
async def lane(caller: Reader, queue: Queue, account: _Account, operation: _Operation) -> LaneView:
    """Return one lane: what it holds, its state, pace and limit."""
    check_account(caller, account)
    return await view_of(queue, account, operation)


@router.post("/lanes/{account}/{operation}:drain")
async def drain_lane(
    caller: Operator, queue: Queue, account: _Account, operation: _Operation, chosen: _Chosen
) -> Drained:
    """Cancel the jobs of a lane that wait or are deferred; without `"dry_run": false`, count them.

    Their vendors are never called for them, so their stream tasks go on. Jobs in flight go on too.
    """
    return await _drain(caller, queue, account, operation, chosen)


@router.post("/lanes/{account}:drain")
async def drain_account(caller: Operator, queue: Queue, account: _Account, chosen: _Chosen) -> Drained:
    """Cancel the jobs of an account that wait or are deferred, in all its lanes; see the drain of a lane."""
    return await _drain(caller, queue, account, None, chosen)


async def _drain(caller: Operator, queue: Queue, account: str, operation: str | None, chosen: Drain) -> Drained:
    check_account(caller, account)
    return await drained_of(
        queue,
        account,
        operation,
        older_than=chosen.older_than,
        room=chosen.room,
        dry_run=chosen.dry_run,
        by=caller.name,
    )
