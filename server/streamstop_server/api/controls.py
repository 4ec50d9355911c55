"""Pauses, limits and holds, as the API has them."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from streamstop import Hold, Limit, Pause
from streamstop._core.controls import LONGEST
from streamstop_server.access.auth import Operator, Reader, check_account
from streamstop_server.access.scopes import check_scope_of, seen_controls
from streamstop_server.http.documented import ACCOUNT, OPERATION, SHORTEST_S, errors
from streamstop_server.http.problems import Problem
from streamstop_server.queue.client import Queue

router = APIRouter(tags=["pauses, limits and holds"])

_For = Annotated[
    float | None,
    Field(
        alias="for",
        ge=SHORTEST_S,
        le=LONGEST.total_seconds(),
        description="It ends by itself after so many seconds; without it, when somebody ends it.",
    ),
]
_Reason = Annotated[str, Field(description="Why, for the others on call.")]
_Scope = Annotated[
    str,
    Path(
        description="`all`, `vendor:<vendor>`, an account, or a lane: `<account>.<operation>`.",
        examples=["live-cn.live.StopMPUTask"],
    ),
]
_Account = Annotated[str, Path(examples=["live-cn"], json_schema_extra=ACCOUNT)]
_Operation = Annotated[str, Path(examples=["live.StopMPUTask"], json_schema_extra=OPERATION)]


class NewPause(BaseModel):
    """A scope to pause."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"scope": "live-cn", "for": 1800, "reason": "the vendor asked us to"}]},
    )

    scope: Annotated[str, Field(description="`all`, `vendor:<vendor>`, an account, or a lane.")]
    lasting: _For = None
    reason: _Reason = ""


class NewLimit(BaseModel):
    """A limit of a lane."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"limit": 2, "for": 3600, "reason": "shared with the console"}]}
    )

    limit: Annotated[float, Field(description="Calls per second.")]
    lasting: _For = None
    reason: _Reason = ""
    above_vendor: Annotated[bool, Field(strict=True, description="Accept a limit above the vendor's page.")] = False


@router.get("/pauses")
async def pauses(caller: Reader, queue: Queue) -> list[Pause]:
    """Return the pauses, oldest first. Those of all accounts and of vendors are among them for every token."""
    return list(seen_controls(caller, await queue.controls()).pauses.values())


@router.post("/pauses", status_code=201)
async def pause(caller: Operator, queue: Queue, new: Annotated[NewPause, Body()], response: Response) -> Pause:
    """Pause a scope: no job of it is taken, and within a second no further call is sent. Enqueueing goes on.

    A second pause of a scope replaces the first.
    """
    scope = check_scope_of(caller, new.scope)
    made = await queue.pause(scope, lasting=new.lasting, reason=new.reason, by=caller.name)
    response.headers["Location"] = f"/v1/pauses/{made.scope}"
    return made


@router.delete("/pauses/{scope}", status_code=204, responses=errors(404))
async def resume(caller: Operator, queue: Queue, scope: _Scope) -> None:
    """End the pause of a scope, and the hold of the account if the scope is one.

    A lane that several pauses hold goes on when none is left.
    """
    if not await queue.resume(check_scope_of(caller, scope), by=caller.name):
        raise Problem(404, "not-paused", f"{scope} is neither paused nor held", field="scope")


@router.get("/holds")
async def holds(caller: Reader, queue: Queue) -> list[Hold]:
    """Return the accounts whose keys are refused, oldest first. `DELETE /v1/pauses/{account}` ends a hold."""
    return list(seen_controls(caller, await queue.controls()).holds.values())


@router.get("/limits")
async def limits(caller: Reader, queue: Queue) -> list[Limit]:
    """Return the limits that people have set, oldest first."""
    return list(seen_controls(caller, await queue.controls()).limits.values())


@router.put("/limits/{account}/{operation}")
async def set_limit(
    caller: Operator, queue: Queue, account: _Account, operation: _Operation, new: Annotated[NewLimit, Body()]
) -> Limit:
    """Override the limit of a lane in every worker, from its next call on. A second limit replaces the first."""
    check_account(caller, account)
    return await queue.set_limit(
        account,
        operation,
        new.limit,
        lasting=new.lasting,
        reason=new.reason,
        above_vendor=new.above_vendor,
        by=caller.name,
    )


@router.delete("/limits/{account}/{operation}", status_code=204, responses=errors(404))
async def clear_limit(caller: Operator, queue: Queue, account: _Account, operation: _Operation) -> None:
    """End the override of a lane's limit."""
    check_account(caller, account)
    if not await queue.clear_limit(account, operation, by=caller.name):
        raise Problem(404, "no-limit", f"no limit is set for {account}.{operation}")
