"""``streamstop stop`` and ``streamstop status``: enqueue one command or a file of them, and wait on request."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

import click

from streamstop._core.commands import LONGEST_EXPIRY, Command
from streamstop.cli._shared.exit_codes import EXIT_CODES, Exit, Failure
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.input import check_accounts, read_commands
from streamstop.cli._shared.options import (
    Duration,
    account_option,
    any_region_option,
    combine,
    from_option,
    json_option,
    operation_arguments,
    redis_option,
)
from streamstop.cli._shared.output import counted, join_lines
from streamstop.cli._shared.parsing import Defaults
from streamstop.cli._shared.waiting import JOB_HINT, wait_for_outcomes, worker_hint
from streamstop.cli.job_output import JobRow, job_table, results_summary
from streamstop.client import Client
from streamstop.jobs import Job
from streamstop.operations import Kind

_NOTHING = "nothing was enqueued"


@dataclass(frozen=True)
class _Request:
    """The arguments and options of one call."""

    kind: Kind
    operation: str | None
    words: Sequence[str]
    source: BinaryIO | None
    defaults: Defaults
    unique: bool
    wait: timedelta | None
    as_json: bool
    redis: str | None


def _enqueueing_command(kind: Kind, *examples: str, line: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command with the arguments, options and help that stop and status share."""
    blocks = {
        "Examples": examples,
        "A line of FILE (account, priority and expires_in, in seconds, may be added)": [line],
        "Exit codes": EXIT_CODES,
    }
    parameters = combine(
        operation_arguments,
        account_option,
        from_option("commands"),
        click.option(
            "--wait", metavar="TIME", type=Duration(), help="Wait up to this long for all jobs to end: 30, 10m."
        ),
        click.option(
            "--priority",
            type=click.IntRange(0, 9),
            default=0,
            show_default=True,
            help="Order among the account's jobs of the operation; 0 goes first.",
        ),
        click.option(
            "--expires-in",
            metavar="TIME",
            type=Duration(LONGEST_EXPIRY),
            help="Do not call the vendor after this time: 90, 10m, 2h.",
        ),
        click.option(
            "--unique",
            is_flag=True,
            help="Enqueue no second job of a command while one that was given with --unique is open.",
        ),
        any_region_option,
        json_option,
        redis_option,
    )

    def decorate(function: Callable[..., None]) -> click.Command:
        return click.command(kind.value, cls=Page, blocks=blocks)(parameters(function))

    return decorate


@_enqueueing_command(
    Kind.STOP,
    "streamstop stop live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1 --wait 30",
    "streamstop stop trtc.StopStreamIngest --account trtc-sg SdkAppId=1400000001 TaskId=t-2",
    "streamstop stop --from tasks.jsonl --wait 600",
    "list-tasks | streamstop stop --from - --account live-cn --json --wait 600 > outcomes.jsonl",
    line='{"operation": "live.StopMPUTask", "params": {"AppId": "a", "TaskId": "t-1"}}',
)
def stop(**arguments: Any) -> None:
    """Stop stream tasks.

    Enqueue a stop for one task, or with --from one for each line, and print the jobs' IDs. With --wait, wait for
    the vendors' answers and print how each job ended.
    """
    _run(_build_request(Kind.STOP, **arguments))


@_enqueueing_command(
    Kind.STATUS,
    "streamstop status live.GetMPUTaskStatus --account live-cn AppId=yourapp TaskId=t-1 --wait 30",
    "streamstop status live.DescribeLivePullToPushList --account live-cn Region=cn-shanghai PageSize=50 --wait 30",
    "streamstop status --from queries.jsonl --json --wait 600",
    line='{"operation": "rtc.GetMPUTaskStatus", "params": {"AppId": "a", "TaskId": "t"}}',
)
def status(**arguments: Any) -> None:
    """Ask the vendors for the status of stream tasks.

    Enqueue a query for one task, or with --from one for each line, and print the jobs' IDs. With --wait, wait for
    the vendors' answers and print them.
    """
    _run(_build_request(Kind.STATUS, **arguments))


def _build_request(
    kind: Kind,
    *,
    account: str | None,
    priority: int,
    expires_in: timedelta | None,
    any_region: bool,
    **arguments: Any,
) -> _Request:
    defaults = Defaults(account=account, priority=priority, expires_in=expires_in, any_region=any_region)
    return _Request(kind, defaults=defaults, **arguments)


def _run(request: _Request) -> None:
    lines = read_commands(
        request.operation, request.words, request.source, request.kind, request.defaults, nothing=_NOTHING
    )
    commands = [line.command for line in lines]
    if not commands:
        click.echo(f"no commands in the input: {_NOTHING}", err=True)
        return
    with Client(request.redis) as client:
        if request.source is not None:
            check_accounts(client, lines, request.source, nothing=_NOTHING)
        try:
            jobs = client.enqueue_many(commands, unique=request.unique)
        except KeyboardInterrupt:
            raise Failure(
                "interrupted: the commands may or may not have been enqueued; stopping twice is harmless",
                Exit.INTERRUPTED,
            ) from None
        if request.wait is None:
            _print_enqueued(client, jobs, commands, as_json=request.as_json)
            return
        label = "stopping" if request.kind is Kind.STOP else "asking"
        outcomes, failure = wait_for_outcomes(client, jobs, request.wait, label)
        hint = worker_hint(client) if len(outcomes) < len(jobs) else ""
    rows = [JobRow(job.id, command, outcomes.get(job.id)) for job, command in zip(jobs, commands, strict=True)]
    if request.as_json:
        click.echo(join_lines(row.to_json() for row in rows))
    else:
        click.echo(join_lines([*job_table(rows), results_summary(rows)]))
    if failure is not None:
        raise failure
    code = Exit.of(len(rows), outcomes.values())
    if code is Exit.STILL_OPEN:
        open_jobs = counted(len(rows) - len(outcomes), "job")
        raise Failure(f"{open_jobs} did not end in time and will continue{hint}; {JOB_HINT}", code)
    sys.exit(code)


def _print_enqueued(client: Client, jobs: Sequence[Job], commands: Sequence[Command], *, as_json: bool) -> None:
    if as_json:
        rows = (JobRow(job.id, command, None) for job, command in zip(jobs, commands, strict=True))
        click.echo(join_lines(row.to_json() for row in rows))
        return
    click.echo(join_lines(job.id for job in jobs))
    click.echo(f"{counted(len(jobs), 'job')} enqueued{worker_hint(client)}; {JOB_HINT}", err=True)
