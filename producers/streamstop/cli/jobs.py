"""``streamstop job`` and ``streamstop cancel``: show a job, and cancel jobs."""

import sys
from datetime import UTC, datetime

import click

from streamstop._core.lane import Lane
from streamstop._core.sightings import JobView
from streamstop._redis.errors import is_forbidden
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.input import check_id, read_ids
from streamstop.cli._shared.options import json_option, redis_option
from streamstop.cli._shared.output import join_lines, printable
from streamstop.cli.job_output import job_json, job_page
from streamstop.client import Client
from streamstop.errors import NotCancellable, QueueUnavailable
from streamstop.jobs import Job
from streamstop.outcomes import Outcome

_ID = "live-cn.live.StopMPUTask.0f8b5c2e9d7a4b31a6c0d4e8f1b29375"


@click.command(
    cls=Page,
    short_help="Show a job: where it is, or how it ended.",
    blocks={
        "Examples": [f"streamstop job {_ID}", f"streamstop job {_ID} --json"],
        "Exit codes": [
            "0    shown, whatever the job's state",
            "1    no such job: it was never enqueued, or its outcome is no longer kept",
            "2    bad input",
            "4    Redis did not answer",
        ],
    },
)
@click.argument("job_id", metavar="ID")
@json_option
@redis_option
def job(job_id: str, *, as_json: bool, redis: str | None) -> None:
    """Show a job: open, deferred with its reason, or how it ended, and what the vendor answered to each call."""
    with Client(redis) as client:
        handle = client.job(check_id(job_id))
        view = _look(handle)
        seen = view.outcome if view is not None and view.outcome is not None else handle.peek()
        answers = None if view is None else view.answers
        if as_json:
            click.echo(job_json(job_id, seen, answers))
            return
        lane = None if isinstance(seen, Outcome) else Lane.of_job(job_id)
        lane_view = None if lane is None else client.lanes([lane])[0]
    calls = 0 if view is None else view.calls
    click.echo(join_lines(job_page(job_id, seen, lane_view, datetime.now(UTC), answers, calls=calls)))


def _look(handle: Job) -> JobView | None:
    """Return a job; None for a user of Redis that may only read records. Raises Failure if there is no such job."""
    try:
        view = handle.look()
    except QueueUnavailable as error:
        if error.__cause__ is not None and is_forbidden(error.__cause__):
            return None
        raise
    if view is None:
        raise Failure(f"no such job: {handle.id}", Exit.ENDED_OTHERWISE)
    return view


@click.command(
    cls=Page,
    short_help="Cancel jobs that no worker has claimed.",
    blocks={
        "Examples": [f"streamstop cancel {_ID}", "streamstop cancel - < job-ids.txt"],
        "Exit codes": [
            "0    all are cancelled",
            "1    some are not: a worker has claimed them, or they have ended",
            "2    bad input: nothing was cancelled",
            "4    Redis did not answer; cancel them again",
        ],
    },
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@redis_option
def cancel(ids: tuple[str, ...], *, redis: str | None) -> None:
    """Cancel jobs that no worker has claimed yet. The vendor is never called for them.

    - reads the IDs from standard input, one per line.
    """
    job_ids = read_ids(ids)
    if not job_ids:
        click.echo("no IDs in the input: nothing was cancelled", err=True)
        return
    code = Exit.OK
    with Client(redis) as client:
        for job_id in job_ids:
            try:
                client.job(job_id).cancel()
            except NotCancellable as error:
                code = Exit.ENDED_OTHERWISE
                click.echo(printable(f"not cancelled: {error}"), err=True)
            else:
                click.echo(f"cancelled  {printable(job_id)}")
    sys.exit(code)
