"""The screen of all lanes: what is held or paused first, and the table of ``streamstop lanes``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from streamstop import AsyncClient, LaneState, LaneView
from streamstop.operations import OPERATIONS
from streamstop_server.access.tokens import Caller
from streamstop_server.page.call_history import CallHistory
from streamstop_server.page.charts import Spark, spark_of
from streamstop_server.page.forms import LASTINGS
from streamstop_server.page.lane_feed import LanesNow, SharedLanes
from streamstop_server.page.shell import Viewer, render, wants_fragment
from streamstop_server.queue.client import Queue

router = APIRouter()

#: How many lanes one page shows.
PAGE = 100
#: How many holds, pauses and limits each are listed above the table.
_MOST_LISTED = 20
#: How many accounts forms suggest.
_MOST_SUGGESTED = 50
#: What needs a person first.
_ORDER = (
    LaneState.HELD,
    LaneState.PAUSED,
    LaneState.FAILING,
    LaneState.RESTING,
    LaneState.NO_WORKER,
    LaneState.RUNNING,
    LaneState.IDLE,
)


@dataclass(frozen=True)
class Row:
    """A lane, its calls per second now, and what it did within five minutes."""

    view: LaneView
    rate: float
    throttled: int
    spark: Spark | None


@dataclass(frozen=True)
class Total:
    """The sums over all lanes that the filter fits."""

    lanes: int
    waiting: int
    in_flight: int
    deferred: int
    rate: float
    throttled: int

    @classmethod
    def of(cls, views: Sequence[LaneView], calls: CallHistory) -> "Total":
        """Sum up."""
        return cls(
            len(views),
            sum(view.waiting for view in views),
            sum(view.in_flight for view in views),
            sum(view.deferred for view in views),
            sum(calls.rate(view.lane) for view in views),
            sum(calls.throttled(view.lane) for view in views),
        )


@router.get("/")
async def lanes(
    request: Request,
    viewer: Viewer,
    queue: Queue,
    feed: SharedLanes,
    *,
    q: Annotated[str, Query(max_length=200)] = "",
    state: LaneState | Literal[""] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """Show the lanes."""
    now = (await feed.latest()).of(viewer)
    values = _table(now, feed.calls, q, state, page)
    values |= {"now": now, "most": _MOST_LISTED, "problem": feed.problem}
    if wants_fragment(request):
        return render(request, "lanes_live.html", **values)
    return render(
        request,
        "lanes.html",
        **values,
        states=_ORDER,
        scopes=_scopes(viewer, accounts := await _accounts(viewer, queue, now)),
        accounts=accounts,
        lastings=LASTINGS,
    )


def _table(now: LanesNow, calls: CallHistory, text: str, state: str, page: int) -> dict[str, Any]:
    """Return what the table shows: the lanes of one page, and the sums over all that fit."""
    words = text.casefold().split()
    fitting = [
        view
        for view in now.views
        if state in ("", view.state) and all(word in f"{view.account} {view.operation}".casefold() for word in words)
    ]
    rank = {each: number for number, each in enumerate(_ORDER)}
    fitting.sort(key=lambda view: (rank[view.state], view.account, view.operation))
    pages = max(1, -(-len(fitting) // PAGE))
    page = min(page, pages)
    rows = [
        Row(
            view,
            calls.rate(view.lane),
            calls.throttled(view.lane),
            spark_of(calls.steps(view.lane), view.limit) if view.calls else None,
        )
        for view in fitting[(page - 1) * PAGE : page * PAGE]
    ]
    total = Total.of(fitting, calls)
    return {"rows": rows, "total": total, "q": text, "state": state, "page": page, "pages": pages, "of": len(now.views)}


async def _accounts(viewer: Caller, queue: AsyncClient, now: LanesNow) -> list[str]:
    """Return the accounts that forms suggest; others can be typed."""
    names = {*await queue.accounts(), *(view.account for view in now.views if not view.account.startswith("_"))}
    return sorted(filter(viewer.may_touch, names))[:_MOST_SUGGESTED]


def _scopes(viewer: Caller, accounts: Sequence[str]) -> list[str]:
    """Return the scopes that the form suggests: accounts, and for a token without bounds vendors and all."""
    vendors = sorted({declared.spec.product.vendor.name for declared in OPERATIONS.values()})
    wide = [] if viewer.accounts is not None else ["all", *(f"vendor:{vendor}" for vendor in vendors)]
    return [*wide, *accounts]
