"""Events and errors, as the API has them."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import EventSourceResponse

from streamstop import ErrorCount, Event
from streamstop._core.journal import EventFilter, event_order
from streamstop_server.access.auth import Reader, check_account
from streamstop_server.access.coverage import covers_event
from streamstop_server.access.tokens import Caller
from streamstop_server.http.documented import SHORTEST_S
from streamstop_server.queue.client import Queue
from streamstop_server.waiting.following import following_of
from streamstop_server.waiting.streams import KEEP_ALIVE_S, EventStream

router = APIRouter(tags=["events and errors"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events. With `Accept: text/event-stream`, events as they happen.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
#: How large a part of a stream is, in bytes: what a client does not read stays in memory.
_PART = 32 * 1024
Account = Annotated[str | None, Query(description="Only what has happened to this account.")]


@router.get("/events", response_model=list[Event], responses=_STREAM)
async def events(
    *,
    request: Request,
    caller: Reader,
    queue: Queue,
    since: Annotated[
        float | None, Query(ge=SHORTEST_S, le=365 * 86400, description="Only what is younger, in seconds.")
    ] = None,
    account: Account = None,
    after: Annotated[str | None, Query(description="An event's id: only later ones.")] = None,
    limit: Annotated[
        int, Query(ge=1, le=10_000, description="How many at most: the first ones after `after`, or the latest ones.")
    ] = 100,
    last_event_id: Annotated[str | None, Header(description="For a stream: the `id` of the last event seen.")] = None,
) -> list[Event] | EventSourceResponse:
    """Return what happened to lanes, accounts and workers, oldest first. Redis keeps the latest 10,000 events.

    With `Accept: text/event-stream`, send events as they happen, from `Last-Event-ID` or `after` on, or from now on.
    `reconnect` means that the process ends: connect again.
    """
    if account is not None:
        check_account(caller, account)
    if "text/event-stream" in request.headers.get("accept", ""):
        seen = after if last_event_id is None else last_event_id
        return EventStream(request, _frames(request, caller, EventFilter(account, seen)))
    is_restricted = account is None and caller.accounts is not None
    found = await queue.events(since=since, account=account, after=after, most=None if is_restricted else limit)
    covered = [event for event in found if covers_event(caller, event)]
    return covered[:limit] if after is not None else covered[-limit:]


@router.get("/errors")
async def errors(
    caller: Reader,
    queue: Queue,
    since: Annotated[float, Query(ge=SHORTEST_S, le=86400, description="Errors of so many seconds.")] = 1800.0,
    account: Account = None,
) -> list[ErrorCount]:
    """Return how often each operation of each account got each code from its vendor or the network, the most first."""
    if account is not None:
        check_account(caller, account)
    counts = await queue.errors(since=since, account=account)
    return [count for count in counts if caller.may_touch(count.account)]


async def _frames(request: Request, caller: Caller, wanted: EventFilter) -> AsyncGenerator[bytes | None, None]:
    async with following_of(request).events.follow() as log:
        seen = log.newest if wanted.after is None else event_order(wanted.after)
        while True:
            version, new = log.version, log.after(seen)
            if new:
                seen = new[-1].order
            fitting = (each for each in new if wanted.fits(each.event) and covers_event(caller, each.event))
            for part in _parts(each.frame for each in fitting):
                yield part
            if not await log.change(version, KEEP_ALIVE_S):
                yield None


def _parts(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Yield frames in parts: to send each frame by itself costs more than all else."""
    part = bytearray()
    for frame in frames:
        part += frame
        if len(part) >= _PART:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)
