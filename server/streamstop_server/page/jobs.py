"""The screens Jobs and Job."""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from streamstop import Became, CallAnswer, JobView, Where
from streamstop_server.access.auth import check_account
from streamstop_server.access.coverage import known_job
from streamstop_server.page.forms import form_of
from streamstop_server.page.shell import Viewer, actor_name, go_to, job_path, render, wants_fragment
from streamstop_server.queue.client import Queue
from streamstop_server.queue.search import Found, search

router = APIRouter()

_PARAM = re.compile(r"([A-Z]\w*)=(.+)", re.DOTALL)

#: How many jobs of a stream task are shown.
_MOST = 100
#: How often the screen of an open job asks again, in seconds; behind so many jobs, the search of the lane is long.
_OFTEN, _SELDOM, _FAR_BEHIND = 1, 5, 1000


@router.get("/jobs")
async def jobs(
    request: Request, viewer: Viewer, queue: Queue, *, job_id: str = "", task: str = "", account: str = ""
) -> Response:
    """Show the forms; the jobs of the stream task that was asked for; or the job."""
    if job_id.strip():
        return RedirectResponse(job_path(job_id.strip()), status_code=303)
    found = Found(is_complete=True)
    if account:
        check_account(viewer, account)
    if task.strip():
        found = await search(viewer, queue, params_of(task.strip()), account=account or None, most=_MOST)
    is_whole = found.is_complete and not found.has_more
    return render(request, "jobs.html", task=task, account=account, found=found.sightings, is_whole=is_whole)


@router.post("/jobs")
async def cancel(request: Request, viewer: Viewer, queue: Queue) -> Response:
    """Cancel a job."""
    job_id = (await form_of(request)).get("job_id", "")
    await known_job(viewer, queue.job(job_id))
    await queue.job(job_id).cancel(by=actor_name(viewer))
    return go_to(request, job_path(job_id))


@router.get("/jobs/{job_id:path}")
async def job(request: Request, viewer: Viewer, queue: Queue, job_id: str) -> Response:
    """Show a job: what is known of it, in the order in which it happened."""
    view = await known_job(viewer, queue.job(job_id))
    is_open = view.where in {Where.WAITING, Where.DEFERRED, Where.IN_FLIGHT}
    return render(
        request,
        "job_part.html" if wants_fragment(request) else "job.html",
        job=view,
        admitted_at=next((answer.sent_at for answer in view.answers if answer.number == 1), None),
        steps=steps_of(view),
        own=job_path(job_id),
        every=(_SELDOM if (view.place or 0) > _FAR_BEHIND else _OFTEN) if is_open else None,
        can_cancel=view.where in {Where.WAITING, Where.DEFERRED},
    )


@dataclass(frozen=True)
class Step:
    """Calls on a job's timeline: one with its answer, or some whose answers are not known."""

    first: int
    last: int
    answer: CallAnswer | None = None


def steps_of(job: JobView) -> list[Step]:
    """Return a job's calls in their order, without the one that ended it: its answer is part of the end."""
    steps, number = [], 1
    for answer in job.answers:
        if answer.number > number:
            steps.append(Step(number, answer.number - 1))
        if answer.became is not Became.ENDED:
            steps.append(Step(answer.number, answer.number, answer))
        number = max(number, answer.number + 1)
    if job.calls >= number:
        steps.append(Step(number, job.calls))
    return steps


def params_of(text: str) -> Mapping[str, str | int] | str:
    """Return the parameters that a person has typed: ``TaskId=…``, or several; else the text is a task's id."""
    with suppress(ValueError):  # a quotation mark without its other one
        found = [_PARAM.fullmatch(word) for word in shlex.split(text)]
        if all(found):
            return {one[1]: one[2] for one in found if one}
    return text
