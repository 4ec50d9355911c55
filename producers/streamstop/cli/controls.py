"""``streamstop pause``, ``resume`` and ``limit``: hold lanes back, and let them go on."""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from streamstop._core.controls import LONGEST, Hold
from streamstop.cli._shared.completers import complete_account, complete_any_operation
from streamstop.cli._shared.exit_codes import Exit
from streamstop.cli._shared.help_pages import Page, PageGroup
from streamstop.cli._shared.options import Duration, combine, json_option, redis_option
from streamstop.cli._shared.output import join_lines, printable
from streamstop.cli.control_output import control_json, holds_table, limits_table, pauses_table
from streamstop.client import Client

_F = TypeVar("_F", bound=Callable[..., Any])

_NO_QUEUE = "4    Redis did not answer"


def _reason_options(command: _F) -> _F:
    """Add ``--for`` and ``--reason``."""
    return combine(
        click.option(
            "--for",
            "lasting",
            metavar="TIME",
            type=Duration(LONGEST),
            help="End it by itself after this time: 90, 30s, 5m, 2h, 7d.",
        ),
        click.option("--reason", metavar="TEXT", default="", help="Why, for the others on call."),
    )(command)


@click.command(
    cls=Page,
    short_help="Stop calling a vendor, an account or a lane for now.",
    blocks={
        "Examples": [
            "streamstop pause live-cn --for 30m --reason 'the vendor asked us to'",
            "streamstop pause live-cn.live.StopMPUTask",
            "streamstop pause vendor:aliyun",
            "streamstop pause all --reason 'wrong tasks are being stopped'",
            "streamstop pause",
        ],
        "Scopes": [
            "all                       every account: the emergency stop",
            "vendor:aliyun             every account at the vendor",
            "live-cn                   an account",
            "live-cn.live.StopMPUTask  a lane: an operation of an account",
        ],
        "Exit codes": ["0    paused, or listed", "2    bad input: nothing was changed", _NO_QUEUE],
    },
)
@click.argument("scope", required=False, shell_complete=complete_account)
@_reason_options
@json_option
@redis_option
def pause(scope: str | None, *, lasting: timedelta | None, reason: str, as_json: bool, redis: str | None) -> None:
    """Take no job of SCOPE until it is resumed. Without SCOPE, list what is paused or held.

    Within a second no worker sends a further call, probes included. Enqueueing goes on, and lanes that come to be
    later are paused too. A command whose expiry passes meanwhile ends expired, uncalled.
    """
    if scope is None and (lasting is not None or reason):
        raise click.UsageError("--for and --reason need a SCOPE.")
    holds: list[Hold] = []
    with Client(redis) as client:
        if scope is not None:
            pauses = [client.pause(scope, lasting=lasting, reason=reason)]
        else:
            found = client.controls()
            pauses, holds = list(found.pauses.values()), list(found.holds.values())
    if as_json:
        lines = [*map(control_json, pauses), *map(control_json, holds)]
        click.echo(join_lines(lines), nl=bool(lines))
    elif not pauses and not holds:
        click.echo("nothing is paused, and no account is held")
    else:
        click.echo(join_lines([*pauses_table(pauses), *holds_table(holds)]))


@click.command(
    cls=Page,
    short_help="End a pause, or the hold of an account.",
    blocks={
        "Examples": ["streamstop resume live-cn", "streamstop resume all"],
        "Exit codes": [
            "0    resumed",
            "1    it was neither paused nor held",
            "2    bad input: nothing was changed",
            _NO_QUEUE,
        ],
    },
)
@click.argument("scope", shell_complete=complete_account)
@redis_option
def resume(scope: str, *, redis: str | None) -> None:
    """End the pause of SCOPE, and the hold of an account whose key was refused.

    A lane that several pauses hold, such as its own and its account's, goes on when none is left.
    """
    with Client(redis) as client:
        is_resumed = client.resume(scope)
        others = [printable(one.scope) for one in client.pauses()]
    click.echo(f"resumed  {printable(scope)}" if is_resumed else f"{printable(scope)} is neither paused nor held")
    if others:
        click.echo(f"still paused: {', '.join(others)}", err=True)
    sys.exit(Exit.OK if is_resumed else Exit.ENDED_OTHERWISE)


@click.group(
    cls=PageGroup,
    short_help="Set limits of calls per second for now, in every worker.",
    blocks={
        "Examples": [
            "streamstop limit set live-cn live.StopMPUTask 2 --for 1h",
            "streamstop limit clear live-cn live.StopMPUTask",
            "streamstop limit list",
        ]
    },
)
def limit() -> None:
    """Override the limits of the accounts file and of the vendors' pages, in every worker at once."""


@limit.command(
    "set",
    cls=Page,
    short_help="Set a limit.",
    blocks={
        "Examples": [
            "streamstop limit set live-cn live.StopMPUTask 2",
            "streamstop limit set live-cn live.StopMPUTask 0.5 --for 1h --reason 'shared with the console'",
            "streamstop limit set live-cn live.StopMPUTask 20 --above-vendor --reason 'raised by ticket 4711'",
        ],
        "Exit codes": ["0    set", "2    bad input: nothing was changed", _NO_QUEUE],
    },
)
@click.argument("account", shell_complete=complete_account)
@click.argument("operation", shell_complete=complete_any_operation)
@click.argument("calls_per_second", metavar="LIMIT")
@click.option("--above-vendor", is_flag=True, help="Accept a limit above the vendor's page.")
@_reason_options
@json_option
@redis_option
def set_limit(
    account: str, operation: str, *, calls_per_second: str, as_json: bool, redis: str | None, **options: Any
) -> None:
    """Let ACCOUNT call OPERATION at most LIMIT times a second, from its next call on.

    It applies to every worker, and to those that start later. To make no call at all, pause the lane.
    """
    with Client(redis) as client:
        override = client.set_limit(account, operation, _number(calls_per_second), **options)
    click.echo(control_json(override) if as_json else join_lines(limits_table([override])))


@limit.command(
    "clear",
    cls=Page,
    short_help="End a limit.",
    blocks={
        "Examples": ["streamstop limit clear live-cn live.StopMPUTask"],
        "Exit codes": ["0    cleared", "1    there was none", "2    bad input: nothing was changed", _NO_QUEUE],
    },
)
@click.argument("account", shell_complete=complete_account)
@click.argument("operation", shell_complete=complete_any_operation)
@redis_option
def clear_limit(account: str, operation: str, *, redis: str | None) -> None:
    """Let ACCOUNT call OPERATION again as its accounts file or the vendor's page says."""
    with Client(redis) as client:
        is_cleared = client.clear_limit(account, operation)
    lane = printable(f"{account}.{operation}")
    click.echo(f"cleared  {lane}" if is_cleared else f"no limit is set for {lane}")
    sys.exit(Exit.OK if is_cleared else Exit.ENDED_OTHERWISE)


@limit.command(
    "list",
    cls=Page,
    short_help="List the limits that are set.",
    blocks={
        "Examples": ["streamstop limit list", "streamstop limit list --json"],
        "Exit codes": ["0    listed, even if there are none", "2    bad input", _NO_QUEUE],
    },
)
@json_option
@redis_option
def list_limits(*, as_json: bool, redis: str | None) -> None:
    """List the limits that are set, oldest first, with who set them and why."""
    with Client(redis) as client:
        limits = client.limits()
    if as_json:
        click.echo(join_lines(map(control_json, limits)), nl=bool(limits))
    else:
        click.echo(join_lines(limits_table(limits)) if limits else "no limit is set")


def _number(text: str) -> Any:
    """Return `text` as a number; other text stays text, and the client says what is allowed."""
    try:
        return float(text)
    except ValueError:
        return text
