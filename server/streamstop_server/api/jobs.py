"""Jobs, as the API has them: enqueue commands, look at a job, wait for its end, cancel it, find those of a task."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from streamstop import (
    AsyncJob,
    CallAnswer,
    Command,
    InvalidCommand,
    JobView,
    Lane,
    Outcome,
    OutcomeTimeout,
    Sighting,
    Where,
)
from streamstop_server.access.auth import Enqueuer, Reader, check_account
from streamstop_server.access.coverage import known_job
from streamstop_server.access.tokens import Caller
from streamstop_server.api._stops import CommandDocument, OneOrManyCommands, commands_of, place_of
from streamstop_server.http.documented import errors
from streamstop_server.http.idempotency import key_of
from streamstop_server.http.problems import Problem
from streamstop_server.queue.client import Queue
from streamstop_server.queue.lane_times import lane_times_of
from streamstop_server.queue.search import search
from streamstop_server.waiting.waits import LONGEST_POLL_S, poll

router = APIRouter(tags=["jobs"])

_JOB = "live-cn.live.StopMPUTask.0f8b5c2e9d7a4b31a6c0d4e8f1b29375"
#: A job that is open after so many seconds of a long poll is looked up: nobody waits a minute for an id that never was.
_SOON_S = 2.0
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "All commands are enqueued.",
        "headers": {
            "Location": {"description": "The job's path, for one command.", "schema": {"type": "string"}},
            "Retry-After": {
                "description": "Seconds until the jobs will probably have ended; 600 at most.",
                "schema": {"type": "integer"},
            },
        },
    }
}

JobId = Annotated[str, Path(description="The job's id.", max_length=300, examples=[_JOB])]


class JobLinks(BaseModel):
    """Where a job is."""

    self: Annotated[str, Field(description="The job's path.")]


class EnqueuedJob(BaseModel):
    """A job that was enqueued."""

    id: str
    account: str
    operation: str
    links: JobLinks


class EnqueuedJobs(BaseModel):
    """The jobs of the commands, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "jobs": [
                        {
                            "id": _JOB,
                            "account": "live-cn",
                            "operation": "live.StopMPUTask",
                            "links": {"self": f"/v1/jobs/{_JOB}"},
                        }
                    ]
                }
            ]
        }
    )

    jobs: list[EnqueuedJob]


class JobDocument(BaseModel):
    """A job. What is not known, or is known no longer, is null."""

    id: str
    state: Annotated[str, Field(description="`waiting`, `deferred`, `in_flight` or `ended`.")]
    account: str
    operation: str
    params: dict[str, Any] | None = None
    enqueued_at: datetime | None = None
    expires_at: datetime | None = None
    place: Annotated[
        int | None, Field(description="While it waits: how many jobs of its lane go before it, and itself.")
    ] = None
    due: Annotated[datetime | None, Field(description="While it is deferred: when it is called again.")] = None
    reason: Annotated[str | None, Field(description="While it is deferred: why.")] = None
    attempts: int = 0
    calls: int = 0
    trace_id: str | None = None
    room: str | None = None
    shutdown: str | None = None
    dead_letter: Annotated[bool, Field(description="Whether it is kept as a dead letter.")] = False
    answers: Annotated[
        list[CallAnswer],
        Field(description="What the vendor answered to each call, the oldest first, as far as it is known."),
    ] = []
    outcome: Outcome | None = None
    links: JobLinks

    @classmethod
    def of(cls, view: JobView) -> "JobDocument":
        """Return the document of a job."""
        state = Where.ENDED if view.where is Where.DEAD else view.where
        is_dead = view.where is Where.DEAD
        fields = view.model_dump(exclude={"where", "answers", "outcome"})
        return cls(
            **fields,
            state=state,
            dead_letter=is_dead,
            answers=[*view.answers],
            outcome=view.outcome,
            links=JobLinks(self=_path(view.id)),
        )


class FoundJobs(BaseModel):
    """Where the jobs of a stream task are, and where the task is registered."""

    found: list[Sighting]
    more: Annotated[bool, Field(description="Whether there are more than `limit`.")]
    incomplete: Annotated[bool, Field(description="Whether the time was over before everything was searched.")]


@router.post("/jobs", status_code=202, response_model=EnqueuedJobs, responses=errors(400, 409) | _ACCEPTED)
async def enqueue_jobs(
    *,
    commands: OneOrManyCommands,
    request: Request,
    caller: Enqueuer,
    queue: Queue,
    unique: Annotated[
        bool,
        Query(description="Enqueue no command that has an open job, and return that job. For 500 commands at most."),
    ] = False,
    idempotency_key: Annotated[
        str | None,
        Header(description="1 to 255 visible ASCII characters: the same request again within a day enqueues nothing."),
    ] = None,
) -> Response:
    """Enqueue one command, or an array of up to 10,000: all of them, or none.

    With an `Idempotency-Key`, the same request within 24 hours returns the same jobs. With other commands the key is
    refused (422). While the first request is under way, others are (409).
    """
    del idempotency_key  # for the description: it is read with its quotes, and once
    key, is_one = key_of(request), not isinstance(commands, list)
    listed = await commands_of(commands, CommandDocument)
    _check_accounts(caller, listed, is_one=is_one)
    try:
        jobs = await queue.enqueue_many(listed, unique=unique, idempotency_key=key, idempotency_namespace=caller.name)
    except InvalidCommand as error:
        problem = Problem.of(error)
        problem.field = "unique" if error.index is None else place_of(error.index, "account", is_one=is_one)
        raise problem from None
    lanes, content = await asyncio.to_thread(_accepted, [job.id for job in jobs], listed)
    headers = {"Retry-After": str(await lane_times_of(request).seconds(queue, lanes))}
    if is_one:
        headers["Location"] = _path(jobs[0].id)
    return Response(content, status_code=202, headers=headers, media_type="application/json")


def _accepted(ids: Sequence[str], commands: Sequence[Command]) -> tuple[set[Lane], bytes]:
    """Return the lanes of enqueued commands, and their jobs as JSON. Of thousands this takes long."""
    jobs = [
        {
            "id": job_id,
            "account": command.account,
            "operation": command.operation.spec.id,
            "links": {"self": _path(job_id)},
        }
        for job_id, command in zip(ids, commands, strict=True)
    ]
    return {command.lane for command in commands}, to_json({"jobs": jobs})


@router.get("/jobs/{job_id}", responses=errors(404))
async def look_at_job(
    job_id: JobId,
    request: Request,
    caller: Reader,
    queue: Queue,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_POLL_S, description="Wait so many seconds at most until it has ended.")
    ] = 0.0,
) -> JobDocument:
    """Return where a job is, or how it ended; with `wait`, when it has ended, or at the end of the wait.

    An outcome can be read for a day after the end. After that, or before the job was enqueued, there is no such job.
    """
    lane, job = Lane.of_job(job_id), queue.job(job_id)
    if lane is not None:
        check_account(caller, lane.account)
        if wait:
            await poll(request, _end_of(job, wait), None)
    return JobDocument.of(await known_job(caller, job))


@router.delete("/jobs/{job_id}", responses=errors(404, 409))
async def cancel_job(job_id: JobId, caller: Enqueuer, queue: Queue) -> JobDocument:
    """Cancel a job that no worker has begun, so that the vendor is never called for it; return what became of it.

    Cancelling a cancelled job changes nothing. A job that a worker has begun, or that has ended, is a 409.
    """
    view = await known_job(caller, queue.job(job_id))
    outcome = await queue.job(job_id).cancel(by=caller.name)
    return JobDocument.of(
        view.model_copy(update={"where": Where.ENDED, "outcome": outcome, "place": None, "due": None, "reason": None})
    )


@router.get("/jobs")
async def find_jobs(
    *,
    caller: Reader,
    queue: Queue,
    task: Annotated[str, Query(min_length=1, max_length=256, description="The stream task: its TaskId or JobId.")],
    account: Annotated[str | None, Query(description="Only jobs of this account.")] = None,
    operation: Annotated[str | None, Query(description="Only jobs of this operation.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
) -> FoundJobs:
    """Find every job of a stream task, wherever it is, and the rooms in which the task is registered.

    The search looks at all that waits. After 10 s it ends, and the answer is what was found until then, with
    `incomplete`. Give the account and the operation where they are known.
    """
    if account is not None:
        check_account(caller, account)
    found = await search(caller, queue, task, account=account, operation=operation, most=limit)
    return FoundJobs(found=found.sightings, more=found.has_more, incomplete=not found.is_complete)


def _check_accounts(caller: Caller, commands: Sequence[Command], *, is_one: bool) -> None:
    """Refuse commands of an account that the token does not cover."""
    for index, command in enumerate(commands):
        if not caller.may_touch(command.account):
            detail = f"the token {caller.name} does not cover the account {command.account}"
            raise Problem(403, "forbidden", detail, field=place_of(index, "account", is_one=is_one))


async def _end_of(job: AsyncJob, seconds: float) -> None:
    """Return when the job has ended, when it turns out that there is no such job, or after `seconds`."""
    soon = min(seconds, _SOON_S)
    for wait in (soon, seconds - soon):
        with suppress(OutcomeTimeout):
            await job.outcome(wait)
            return
        if wait == soon < seconds and await job.look() is None:
            return


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
