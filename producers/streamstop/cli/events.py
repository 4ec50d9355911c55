"""``streamstop events``: shows what happened to lanes, accounts and workers, and follows it."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from math import inf

import click

from streamstop._core.journal import LONGEST_SINCE, Event
from streamstop.cli._shared.completers import complete_account
from streamstop.cli._shared.exit_codes import until_ctrl_c
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.input import check_known_account
from streamstop.cli._shared.options import Duration, json_option, redis_option
from streamstop.cli._shared.output import join_lines, json_line, printable
from streamstop.cli._shared.screen import terminal_width
from streamstop.cli.journal_output import KIND_WIDTH, event_line
from streamstop.client import Client
from streamstop.errors import QueueUnavailable

_DEFAULT = timedelta(hours=1)
#: How long after Redis did not answer it is asked again, in s.
_RETRY_S = 1.0
#: How often this is told, in s.
_TELL_AGAIN_S = 60.0
#: An id that is older than any event's.
_FIRST = "0-0"


@click.command(
    cls=Page,
    short_help="Show what happened to lanes, accounts and workers.",
    blocks={
        "Examples": [
            "streamstop events",
            "streamstop events --since 12h --account live-cn",
            "streamstop events --follow",
            "streamstop events --follow --json | jq -r 'select(.kind == \"held\") | .account'",
        ],
        "Exit codes": [
            "0    shown, even if there are none",
            "2    bad input, or no running worker has the account and it has no events",
            "4    Redis did not answer",
            "130  interrupted (Ctrl-C)",
        ],
    },
)
@click.option("--follow", is_flag=True, help="Show events as they happen, until Ctrl-C.")
@click.option(
    "--since",
    metavar="AGE",
    type=Duration(LONGEST_SINCE),
    help="Only events of the last AGE: 90s, 30m, 12h, 7d.  [default: 1h; with --follow: from now on]",
)
@click.option("--account", metavar="NAME", shell_complete=complete_account, help="Only those of the account.")
@json_option
@redis_option
def events(*, follow: bool, since: timedelta | None, account: str | None, as_json: bool, redis: str | None) -> None:
    """Show what happened to lanes, accounts and workers, oldest first, a line each.

    Lanes rest, fail and recover; people pause, limit and drain; keys are refused; workers come and go. Times are UTC.
    Redis keeps the latest 10,000 events.
    """
    kind_width = KIND_WIDTH

    def show(shown: list[Event]) -> None:
        nonlocal kind_width
        kind_width = max([kind_width, *(len(event.kind) for event in shown)])
        width = terminal_width()
        lines = [json_line(event) if as_json else event_line(event, width, kind_width) for event in shown]
        if lines:
            click.echo(join_lines(lines))

    age = _DEFAULT if since is None else since
    with Client(redis) as client:
        if not follow:
            shown = client.events(since=age, account=account)
            show(shown)
            if not shown:
                check_known_account(client, account)
                if not as_json:
                    click.echo("no events: --since looks farther back", err=True)
            return
        newest = client.events()[-1:]
        past = [] if since is None else client.events(since=age, account=account)
        if not past:
            check_known_account(client, account)
        show(past)
        last = past[-1:] or newest
        with until_ctrl_c():
            _follow(client, account, last[0].id if last else _FIRST, show)


def _follow(client: Client, account: str | None, after: str, show: Callable[[list[Event]], None]) -> None:
    """Show the events after the one with the id `after`, for ever, also across a restart of Redis."""
    told_at = -inf
    while True:
        try:
            with closing(client.follow_events(account=account, after=after)) as following:
                for event in following:
                    show([event])
                    after = event.id
        except QueueUnavailable as error:
            if time.monotonic() - told_at > _TELL_AGAIN_S:
                told_at = time.monotonic()
                click.echo(printable(f"{error}; trying again until Ctrl-C"), err=True)
            time.sleep(_RETRY_S)
