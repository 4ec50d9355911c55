"""``streamstop drain``: cancels the jobs of an account that wait."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from streamstop._core.drained import Drained
from streamstop.cli._shared.completers import complete_account, complete_any_operation
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.input import check_known_account
from streamstop.cli._shared.options import Duration, json_option, redis_option
from streamstop.cli._shared.output import aligned, counted, join_lines, json_line, moment_text, params_text
from streamstop.client import Client
from streamstop.errors import QueueUnavailable


@click.command(
    cls=Page,
    short_help="Cancel the jobs of an account that wait.",
    blocks={
        "Examples": [
            "streamstop drain live-cn --dry-run",
            "streamstop drain live-cn live.StopMPUTask --older-than 2h",
            "streamstop drain live-cn --room room-42 --yes --json",
        ],
        "Exit codes": [
            "0    drained, even if nothing waited that fits",
            "1    you did not confirm: nothing was cancelled",
            "2    bad input, neither --yes nor a terminal to confirm on, or an account that no running worker has and "
            "for which nothing waits: nothing was cancelled",
            "4    Redis did not answer; run it again",
            "130  interrupted (Ctrl-C); what was cancelled stays cancelled",
        ],
    },
)
@click.argument("account", shell_complete=complete_account)
@click.argument("operation", required=False, shell_complete=complete_any_operation)
@click.option("--older-than", metavar="AGE", type=Duration(), help="Only jobs that were enqueued longer ago: 30m, 2h.")
@click.option("--room", metavar="ROOM", help="Only jobs of the room's shutdowns.")
@click.option("--dry-run", is_flag=True, help="Count the jobs and show examples, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@redis_option
def drain(
    account: str,
    operation: str | None,
    *,
    older_than: timedelta | None,
    room: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    redis: str | None,
) -> None:
    """Cancel the jobs of ACCOUNT that wait or are deferred. The vendor is never called for them.

    Their stream tasks run on. Each job ends cancelled, and a stream task of a shutdown counts as cancelled there.
    Jobs that are in flight go on. Workers may take jobs meanwhile: pause the account first to stop every call.
    """
    if dry_run and yes:
        raise click.UsageError("--dry-run and --yes cannot be combined.")
    chosen: dict[str, Any] = {"account": account, "operation": operation, "older_than": older_than, "room": room}
    with Client(redis) as client:
        if dry_run or not yes:
            found = client.drain(**chosen, dry_run=True)
            if dry_run:
                _check_known(client, found)
                _print(found, as_json=as_json)
                return
            if found.jobs:
                _confirm(found)
        drained = _drain(client, chosen)
        _check_known(client, drained)
        _print(drained, as_json=as_json)


def _drain(client: Client, chosen: dict[str, Any]) -> Drained:
    """Drain, with a counter on a terminal. Raises :class:`~streamstop.cli._shared.exit_codes.Failure`."""
    so_far: Drained | None = None

    def show(drained: Drained) -> None:
        nonlocal so_far
        so_far = drained
        if sys.stderr.isatty():
            click.echo(f"\r{drained.jobs} cancelled", nl=False, err=True)

    def done() -> str:
        return f"{counted(so_far.jobs if so_far else 0, 'job')} cancelled, and perhaps a few more"

    try:
        return client.drain(**chosen, progress=show)
    except KeyboardInterrupt:
        raise Failure(f"interrupted: {done()}; the others wait", Exit.INTERRUPTED) from None
    except QueueUnavailable as error:
        raise Failure(f"{error}; {done()}", Exit.NO_QUEUE) from error
    finally:
        if sys.stderr.isatty() and so_far is not None:
            click.echo("\r\x1b[K", nl=False, err=True)


def _check_known(client: Client, drained: Drained) -> None:
    """Raise :class:`~streamstop.errors.UnknownAccount` if nothing fits and no running worker has the account."""
    if not drained.jobs:
        check_known_account(client, drained.account)


def _confirm(found: Drained) -> None:
    """Ask the user. Raises :class:`~streamstop.cli._shared.exit_codes.Failure` unless the answer is yes."""
    if not sys.stdin.isatty():
        raise Failure(
            f"{_count_text(found)}, and there is no terminal to confirm on: pass --yes to cancel them", Exit.BAD_INPUT
        )
    click.echo(join_lines(_page(found)), err=True)
    try:
        agreed = click.confirm("Cancel them?", err=True)
    except click.Abort:
        raise Failure("interrupted: nothing was cancelled", Exit.INTERRUPTED) from None
    if not agreed:
        raise Failure("nothing was cancelled", Exit.ENDED_OTHERWISE)


def _print(drained: Drained, *, as_json: bool) -> None:
    click.echo(json_line(drained) if as_json else join_lines(_page(drained)))


def _page(drained: Drained) -> Iterator[str]:
    """Yield what was, or would be, cancelled: the count, the operations, and in a dry run examples."""
    yield _count_text(drained)
    yield from aligned([f"{count:>6}", operation] for operation, count in sorted(drained.operations.items()))
    if drained.dry_run and drained.examples:
        yield "such as"
        yield from aligned(
            [
                "",
                "" if job.enqueued_at is None else moment_text(job.enqueued_at),
                job.operation,
                params_text(job.params or {}),
            ]
            for job in drained.examples
        )


def _count_text(drained: Drained) -> str:
    if not drained.jobs:
        return "nothing waits that fits"
    parts = f"{drained.waiting} waiting, {drained.deferred} deferred"
    return f"{counted(drained.jobs, 'job')} {'would be ' if drained.dry_run else ''}cancelled: {parts}"
