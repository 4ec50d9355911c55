"""Workers, their accounts, and the operations that they know, as the API has them."""

from functools import cache

from fastapi import APIRouter, Response
from pydantic import BaseModel, TypeAdapter

from streamstop import WorkerView
from streamstop.operations import OPERATIONS
from streamstop.operations.facts import OperationFacts, facts_of
from streamstop_server.access.auth import Reader
from streamstop_server.queue.client import Queue
from streamstop_server.queue.fleet import seen_workers

router = APIRouter(tags=["workers"])


class Account(BaseModel):
    """An account of a running worker."""

    account: str
    vendor: str


@router.get("/workers")
async def workers(caller: Reader, queue: Queue) -> list[WorkerView]:
    """Return every worker that is alive, or was lost within the last hour, with the accounts of the token."""
    return seen_workers(caller, await queue.workers())


@router.get("/accounts")
async def accounts(caller: Reader, queue: Queue) -> list[Account]:
    """Return the accounts of running workers, with their vendors."""
    vendors = await queue.accounts()
    return [Account(account=name, vendor=vendors[name]) for name in sorted(vendors) if caller.may_touch(name)]


@router.get("/operations", response_model=list[OperationFacts])
async def operations(_caller: Reader) -> Response:
    """Return the operations that can be enqueued: their parameters, and the vendors' limits in calls per second."""
    return Response(_operations(), media_type="application/json")


@cache
def _operations() -> bytes:
    """Return the operations as JSON. They are constant, and making them takes milliseconds."""
    return TypeAdapter(list[OperationFacts]).dump_json([facts_of(operation) for operation in OPERATIONS])
