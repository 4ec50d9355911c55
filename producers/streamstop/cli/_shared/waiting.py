"""Waits for jobs to end, with a progress bar on a terminal."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import click

from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.output import counted
from streamstop.client import Client
from streamstop.errors import QueueUnavailable
from streamstop.jobs import Job
from streamstop.outcomes import Outcome

#: How to follow up on jobs.
JOB_HINT = "look at one with `streamstop job ID`"


def worker_hint(client: Client) -> str:
    """Return what to add to a message about open jobs if no worker runs; else an empty text."""
    with suppress(QueueUnavailable):
        if not client.accounts():
            return "; no worker runs: nothing is called until one is started"
    return ""


def wait_for_outcomes(
    client: Client, jobs: Sequence[Job], timeout: timedelta, label: str
) -> tuple[dict[str, Outcome], Failure | None]:
    """Wait up to `timeout`. Return the outcomes by job ID, and the failure that ended the wait early, if any."""
    outcomes: dict[str, Outcome] = {}
    with click.progressbar(
        length=len(jobs), label=label, show_pos=True, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        try:
            for outcome in client.outcomes(jobs, timeout=timeout):
                outcomes[outcome.job_id] = outcome
                bar.update(1)
        except KeyboardInterrupt:
            open_jobs = counted(len(jobs) - len(outcomes), "job")
            return outcomes, Failure(f"interrupted: {open_jobs} will continue; {JOB_HINT}", Exit.INTERRUPTED)
        except QueueUnavailable as error:
            return outcomes, Failure(f"{error}; {JOB_HINT}", Exit.NO_QUEUE)
    return outcomes, None
