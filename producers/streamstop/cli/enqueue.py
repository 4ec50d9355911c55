"""``streamstop stop`` and ``streamstop status``: read everything, enqueue it at once, and wait if that was asked."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

import click

from streamstop.cli import sources
from streamstop.cli.completion import complete_operation, complete_parameter
from streamstop.cli.exits import Exit, Failure
from streamstop.cli.options import Seconds, account_option, any_region_option, from_option, json_option, redis_option
from streamstop.cli.pages import EXIT_CODES, Page
from streamstop.cli.reading import Defaults
from streamstop.cli.showing import Row, jobs, lines, summary, table
from streamstop.client import Client
from streamstop.commands import Command
from streamstop.errors import QueueUnavailable
from streamstop.jobs import Job
from streamstop.operations import Kind
from streamstop.outcomes import Outcome

_NOTHING = "nothing was enqueued"
_LOOK = "look at one with `streamstop job ID`"


@dataclass(frozen=True)
class Request:
    """What was typed."""

    kind: Kind
    operation: str | None
    words: Sequence[str]
    source: BinaryIO | None
    defaults: Defaults
    wait: timedelta | None
    as_json: bool
    redis: str | None


def _enqueueing(kind: Kind, *examples: str, line: str) -> Callable[[Callable[..., None]], click.Command]:
    """Give a command the arguments, options and help that stop and status share."""
    blocks = {
        "Examples": examples,
        "A line of FILE (account, priority and expires_in, in seconds, may be left out)": [line],
        "Exit codes": EXIT_CODES,
    }
    parts = (
        click.argument("operation", required=False, shell_complete=complete_operation),
        click.argument("words", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=complete_parameter),
        account_option,
        from_option("commands"),
        click.option("--wait", metavar="SECONDS", type=Seconds(), help="Wait so long for all jobs to end."),
        click.option(
            "--priority",
            type=click.IntRange(0, 9),
            default=0,
            show_default=True,
            help="Order among the account's jobs of the operation; 0 goes first.",
        ),
        click.option(
            "--expires-in", metavar="SECONDS", type=Seconds(), help="Never call the vendor after so much time."
        ),
        any_region_option,
        json_option,
        redis_option,
    )

    def decorate(function: Callable[..., None]) -> click.Command:
        for part in reversed(parts):
            function = part(function)
        return click.command(kind.value, cls=Page, blocks=blocks)(function)

    return decorate


@_enqueueing(
    Kind.STOP,
    "streamstop stop live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1 --wait 30",
    "streamstop stop trtc.StopStreamIngest --account trtc-sg SdkAppId=1400000001 TaskId=t-2",
    "streamstop stop --from tasks.jsonl --wait 600",
    "list-tasks | streamstop stop --from - --account live-cn --json --wait 600 > outcomes.jsonl",
    line='{"operation": "live.StopMPUTask", "account": "live-cn", "params": {"AppId": "yourapp", "TaskId": "t-1"}}',
)
def stop(**arguments: Any) -> None:
    """Stop stream tasks.

    Enqueue a stop for one task, or with --from one for each line, and print the jobs' ids. With --wait, wait for
    the vendors' answers and print how each job ended.
    """
    _run(_request(Kind.STOP, **arguments))


@_enqueueing(
    Kind.STATUS,
    "streamstop status live.GetMPUTaskStatus --account live-cn AppId=yourapp TaskId=t-1 --wait 30",
    "streamstop status live.DescribeLivePullToPushList --account live-cn Region=cn-shanghai PageSize=50 --wait 30",
    "streamstop status --from queries.jsonl --json --wait 600",
    line='{"operation": "live.GetMPUTaskStatus", "account": "live-cn", "params": {"AppId": "app", "TaskId": "t-1"}}',
)
def status(**arguments: Any) -> None:
    """Ask the vendors for the status of stream tasks.

    Enqueue a query for one task, or with --from one for each line, and print the jobs' ids. With --wait, wait for
    the vendors' answers and print them.
    """
    _run(_request(Kind.STATUS, **arguments))


def _request(
    kind: Kind,
    *,
    account: str | None,
    priority: int,
    expires_in: timedelta | None,
    any_region: bool,
    **rest: Any,
) -> Request:
    defaults = Defaults(account=account, priority=priority, expires_in=expires_in, any_region=any_region)
    return Request(kind, defaults=defaults, **rest)


def _run(request: Request) -> None:
    read = sources.read(
        request.operation, request.words, request.source, request.kind, request.defaults, nothing=_NOTHING
    )
    commands = [line.command for line in read]
    if not commands:
        click.echo(f"no commands in the input: {_NOTHING}", err=True)
        return
    with Client(request.redis) as client:
        if request.source is not None:
            sources.check_accounts(client, read, request.source, nothing=_NOTHING)
        try:
            enqueued = client.enqueue_many(commands)
        except KeyboardInterrupt:
            raise Failure(
                "interrupted: the commands may or may not have been enqueued; stopping twice is harmless",
                Exit.INTERRUPTED,
            ) from None
        if request.wait is None:
            _print_enqueued(enqueued, commands, as_json=request.as_json)
            return
        label = "stopping" if request.kind is Kind.STOP else "asking"
        outcomes, cut_short = wait_for(client, enqueued, request.wait, label)
    rows = [Row(job.id, command, outcomes.get(job.id)) for job, command in zip(enqueued, commands, strict=True)]
    if request.as_json:
        click.echo(lines(row.to_json() for row in rows))
    else:
        click.echo(lines([*table(rows), summary(rows)]))
    if cut_short is not None:
        raise cut_short
    code = Exit.of(len(rows), outcomes.values())
    if code is Exit.STILL_OPEN:
        raise Failure(f"{jobs(len(rows) - len(outcomes))} did not end in time, and will go on; {_LOOK}", code)
    sys.exit(code)


def _print_enqueued(enqueued: Sequence[Job], commands: Sequence[Command], *, as_json: bool) -> None:
    if as_json:
        click.echo(lines(Row(job.id, command, None).to_json() for job, command in zip(enqueued, commands, strict=True)))
        return
    click.echo(lines(job.id for job in enqueued))
    click.echo(f"{jobs(len(enqueued))} enqueued; {_LOOK}", err=True)


def wait_for(
    client: Client, enqueued: Sequence[Job], limit: timedelta, label: str
) -> tuple[dict[str, Outcome], Failure | None]:
    """Wait, and return the outcomes that came, also where something cut the wait short."""
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as stack:
        bar = stack.enter_context(
            click.progressbar(
                length=len(enqueued),
                label=label,
                show_pos=True,
                file=sys.stderr,
                hidden=not sys.stderr.isatty(),
            )
        )
        try:
            for outcome in client.outcomes(enqueued, timeout=limit):
                outcomes[outcome.job_id] = outcome
                bar.update(1)
        except KeyboardInterrupt:
            still = jobs(len(enqueued) - len(outcomes))
            return outcomes, Failure(f"interrupted: {still} will go on; {_LOOK}", Exit.INTERRUPTED)
        except QueueUnavailable as error:
            return outcomes, Failure(f"{error}; {_LOOK}", Exit.NO_QUEUE)
    return outcomes, None
