"""The screen of one lane: its calls, what it holds, its errors and events, and what a person can do with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from streamstop import AsyncClient, Event, EventKind, Lane, LaneView, Sighting, Where
from streamstop.operations import OPERATIONS
from streamstop_server.access.auth import check_account
from streamstop_server.http.problems import Problem
from streamstop_server.page import charts
from streamstop_server.page.forms import AGES, LASTINGS, form_of
from streamstop_server.page.lane_feed import LaneFeed, SharedLanes
from streamstop_server.page.shell import Viewer, actor_name, go_to, render, wants_fragment
from streamstop_server.queue.client import Queue
from streamstop_server.queue.lanes import view_of
from streamstop_server.waiting.following import following_of

router = APIRouter()

#: How many jobs of each kind, and events, one page shows.
PAGE = 50
_EVENTS = 10
#: Events of a whole account, though each names the lane in which it happened.
_OF_ACCOUNT = {EventKind.HELD, EventKind.RELEASED}

_Page = Annotated[int, Query(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class JobsPage:
    """One page of the jobs that wait, are in flight or are deferred."""

    where: Where
    title: str
    jobs: Sequence[Sighting]
    count: int
    page: int
    #: The other pages' numbers, which links keep.
    others: str

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.count // PAGE))


@router.get("/lanes/{account}/{operation}")
async def lane(
    request: Request,
    viewer: Viewer,
    queue: Queue,
    feed: SharedLanes,
    *,
    account: str,
    operation: str,
    waiting: _Page = 1,
    in_flight: _Page = 1,
    deferred: _Page = 1,
) -> Response:
    """Show a lane."""
    check_account(viewer, account)
    view = await view_of(queue, account, operation)
    numbers = {Where.IN_FLIGHT: in_flight, Where.DEFERRED: deferred, Where.WAITING: waiting}
    events, _ = await following_of(request).events.latest()
    values = await _values(queue, feed, events, view, numbers)
    if wants_fragment(request):
        return render(request, "lane_live.html", **values)
    return render(request, "lane.html", **values, lastings=LASTINGS, ages=AGES)


@router.post("/lanes/{account}/{operation}/cancel")
async def cancel(
    request: Request, viewer: Viewer, queue: Queue, feed: SharedLanes, *, account: str, operation: str
) -> Response:
    """Cancel one job of the lane. A job that has ended meanwhile stays as it is."""
    check_account(viewer, account)
    job_id = (await form_of(request)).get("job_id", "")
    if Lane.of_job(job_id) != Lane(account, operation):
        raise Problem(422, "invalid-value", "job_id must be the id of a job of this lane", field="job_id")
    await queue.job(job_id).cancel(by=actor_name(viewer))
    await feed.refresh()
    return go_to(request, request.url.path.removesuffix("/cancel"))


async def _values(
    queue: AsyncClient, feed: LaneFeed, events: Sequence[Event], view: LaneView, numbers: dict[Where, int]
) -> dict[str, Any]:
    """Return what the live parts of the screen show."""
    await feed.latest()
    steps = feed.calls.steps(view.lane)
    errors = await queue.errors(account=view.account)
    of_lane = (
        event
        for event in events
        if event.account == view.account
        and (event.operation in {None, "", view.operation} or event.kind in _OF_ACCOUNT)
    )
    return {
        "view": view,
        "spec": OPERATIONS[view.operation].spec if view.operation in OPERATIONS else None,
        "rate": feed.calls.rate(view.lane),
        "steps": steps,
        "chart": charts.chart_of(steps, view.limit),
        "size": charts,
        "lists": [await _jobs(queue, view, where, numbers) for where in numbers],
        "errors": [error for error in errors if error.operation == view.operation][:PAGE],
        "events": list(islice(of_lane, _EVENTS)),
    }


async def _jobs(queue: AsyncClient, view: LaneView, where: Where, numbers: dict[Where, int]) -> JobsPage:
    titles = {Where.WAITING: "Waiting", Where.IN_FLIGHT: "In flight", Where.DEFERRED: "Deferred"}
    count = getattr(view, where.value)
    page = min(numbers[where], max(1, -(-count // PAGE)))
    jobs = await queue.lane_jobs(view.lane, where, first=(page - 1) * PAGE, most=PAGE) if count else []
    others = "".join(f"{other}={number}&" for other, number in numbers.items() if other is not where and number > 1)
    return JobsPage(where, titles[where], jobs, count, page, others)
