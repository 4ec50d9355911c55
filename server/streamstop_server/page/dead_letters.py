"""The screens Dead letters and Dead letter."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from streamstop import AsyncClient, DeadLetter, LetterCounts, Matching
from streamstop_server.http.problems import Problem
from streamstop_server.page.forms import form_of, number
from streamstop_server.page.letter_filters import AGES, RESULTS, UNREADABLE, filters_of, matching_of, query_of
from streamstop_server.page.shell import Viewer, actor_name, go_to, job_path, render
from streamstop_server.queue.client import Queue
from streamstop_server.queue.letters import LONGEST_ACT_S, covered_letter, cursor_of, position_of

router = APIRouter()

#: How many letters a page shows, and how many it looks at.
_ROWS, _MOST_SEARCHED = 50, 1000
#: How long letters are counted before a person is asked, in seconds.
_LONGEST_COUNT_S = 5.0
_ACTS = ("requeue", "drop")


@dataclass
class _Page:
    rows: list[DeadLetter] = field(default_factory=list)
    #: How many of the letters that were looked at have each code.
    codes: Counter[str] = field(default_factory=Counter)
    matching: int = 0
    #: Where the next page begins; None after the last.
    next: str | None = None
    #: Whether all letters were looked at.
    is_whole: bool = True


@router.get("/dead-letters")
async def dead_letters(request: Request, viewer: Viewer, queue: Queue, *, act: str = "", after: str = "") -> Response:
    """Show the dead letters that match the filters; with `act`, what it would do to all of them."""
    filters = filters_of(request.query_params)
    matching = matching_of(viewer, filters)
    if act in _ACTS:
        return await _ask(request, queue, act, filters, matching)
    return render(
        request,
        "dead_letters.html",
        filters=filters,
        page=await _read(queue, matching, after),
        after=after,
        counts=await queue.dead_letters.count_by_result() if viewer.accounts is None else {},
        accounts=sorted(account for account in await queue.accounts() if viewer.may_touch(account)),
        results=RESULTS,
        ages=AGES,
        query_of=query_of,
        unreadable=UNREADABLE,
    )


@router.post("/dead-letters")
async def act_on_all(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Requeue or drop all letters that match: those that there were when the person was asked."""
    form = await form_of(request)
    act, filters = _act(form), filters_of(form)
    asked_at = _asked_at(form)
    matching = matching_of(viewer, filters, died_by=asked_at)
    by = actor_name(viewer)
    done = await _acting(queue, act)(matching, by=by, lasting=LONGEST_ACT_S)
    return render(request, "dead_letters_done.html", act=act, done=done, filters=filters, asked_at=asked_at)


@router.get("/dead-letters/{letter_id:path}")
async def dead_letter(request: Request, viewer: Viewer, queue: Queue, letter_id: str) -> Response:
    """Show one letter."""
    return render(request, "dead_letter.html", letter=await covered_letter(viewer, queue, letter_id))


@router.post("/dead-letters/one")
async def act_on_one(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Requeue or drop one letter."""
    form = await form_of(request)
    act = _act(form)
    letter = await covered_letter(viewer, queue, form.get("letter_id", ""))
    if act == "requeue":
        job = await queue.dead_letters.requeue(letter.id, by=actor_name(viewer))
        return go_to(request, job_path(job.id))
    await queue.dead_letters.drop(letter.id, by=actor_name(viewer))
    return go_to(request, "/dead-letters")


async def _ask(
    request: Request, queue: AsyncClient, act: str, filters: Mapping[str, str], matching: Matching
) -> Response:
    counts = await _acting(queue, act)(matching, dry_run=True, lasting=_LONGEST_COUNT_S)
    return render(
        request,
        "dead_letters_ask.html",
        act=act,
        counts=counts,
        filters=filters,
        asked_at=counts.at,
        back=query_of(filters),
    )


def _acting(queue: AsyncClient, act: str) -> Callable[..., Awaitable[LetterCounts]]:
    """Return the client's method for an act on all letters that match."""
    return queue.dead_letters.requeue_matching if act == "requeue" else queue.dead_letters.drop_matching


async def _read(queue: AsyncClient, matching: Matching, after: str) -> _Page:
    """Read a page. Letters are filtered here, so that the page can end where only few match."""
    page, searched = _Page(), 0
    wide = Matching(older_than=matching.older_than, younger_than=matching.younger_than)
    async with aclosing(
        queue.dead_letters.letters(wide, after=position_of(after, "after") if after else None)
    ) as letters:
        async for letter in letters:
            searched += 1
            if matching.fits(letter):
                page.matching += 1
                page.codes[letter.code or ""] += 1
                if len(page.rows) < _ROWS:
                    page.rows.append(letter)
                elif page.next is None:
                    page.next = cursor_of(page.rows[-1])
            if searched == _MOST_SEARCHED:
                page.is_whole, page.next = False, page.next or cursor_of(letter)
                break
    return page


def _act(form: Mapping[str, str]) -> str:
    act = form.get("act", "")
    if act not in _ACTS:
        raise Problem(422, "invalid-value", f"act must be one of {', '.join(_ACTS)}", field="act")
    return act


def _asked_at(form: Mapping[str, str]) -> datetime:
    """Return the moment of the question, by Redis' clock."""
    asked_at = number(form, "asked_at")
    if not 0 <= asked_at < 1e11:
        raise Problem(422, "invalid-value", "asked_at must be seconds since the epoch", field="asked_at")
    return datetime.fromtimestamp(asked_at, UTC)
