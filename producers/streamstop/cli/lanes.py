"""``streamstop lanes``: shows what lanes hold and do."""

from datetime import UTC, datetime

import click

from streamstop._core.commands import check_account
from streamstop._core.lane_view import LaneView
from streamstop._redis.accounts import vendor_among
from streamstop.cli._shared.completers import complete_account
from streamstop.cli._shared.exit_codes import until_ctrl_c
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import json_option, redis_option
from streamstop.cli._shared.output import join_lines, json_line
from streamstop.cli._shared.screen import terminal_width
from streamstop.cli.lane_output import lane_table
from streamstop.cli.lane_watch import watch_lanes
from streamstop.client import Client

_EMPTY = "no lane holds or lately held a job; --all lists every lane of running workers"
_NEVER = datetime.max.replace(tzinfo=UTC)
_SORT_KEYS = {
    "waiting": lambda view: -view.waiting,
    "oldest": lambda view: view.oldest_waiting_at or _NEVER,
}


@click.command(
    cls=Page,
    short_help="Show what lanes hold and do.",
    blocks={
        "Examples": [
            "streamstop lanes",
            "streamstop lanes live-cn --watch",
            "streamstop lanes --sort oldest --json | jq -c 'select(.state != \"running\")'",
        ],
        "Columns": [
            "waiting  jobs that wait for a call, and how long the oldest of them has waited",
            "flight   jobs that workers have taken",
            "defer    jobs that wait for another call after a fault",
            "calls/s  the pace now, and the limit",
            "left     until the lane is empty, if nothing is enqueued: s, m, h or d",
        ],
        "States": [
            "idle       nothing waits",
            "running",
            "resting    the vendor throttles it, or calls failed: no call for a while",
            "failing    five transient faults in a row: one call at a time, as a probe",
            "no worker  no running worker has the account",
            "held       the vendor refuses the account's key: one probe a minute",
            "paused     somebody has paused it",
        ],
        "Exit codes": [
            "0    shown, even if there are none",
            "2    bad input, or no running worker has the account and nothing waits for it",
            "4    Redis did not answer; with --watch, not even the first time",
            "130  interrupted (Ctrl-C)",
        ],
    },
)
@click.argument("accounts", metavar="[ACCOUNT]...", nargs=-1, shell_complete=complete_account)
@click.option("--watch", is_flag=True, help="Show them again and again, until Ctrl-C.")
@click.option(
    "--sort",
    type=click.Choice(sorted(_SORT_KEYS)),
    help="Most waiting jobs first, or longest waiting first.  [default: by account and operation]",
)
@click.option("--all", "every", is_flag=True, help="All lanes of the running workers' accounts.")
@json_option
@redis_option
def lanes(
    accounts: tuple[str, ...], *, watch: bool, sort: str | None, every: bool, as_json: bool, redis: str | None
) -> None:
    """Show the lanes that hold jobs, or held some within the last quarter of an hour.

    A lane is one operation of one account. It has a pace of its own.
    """
    for account in accounts:
        check_account(account)
    with Client(redis) as client:

        def read() -> list[LaneView]:
            views = client.lanes(accounts=accounts or None, recent=True, every=every)
            views = [view for view in views if not view.account.startswith("_") or view.backlog]
            return views if sort is None else sorted(views, key=_SORT_KEYS[sort])

        if watch:
            with until_ctrl_c():
                watch_lanes(read, _EMPTY, as_json=as_json)
            return
        views = read()
        _check_known(client, accounts, views)
    if as_json:
        click.echo(join_lines(map(json_line, views)), nl=bool(views))
        return
    width = terminal_width()
    click.echo(join_lines(lane_table(views, width) or [_EMPTY]))


def _check_known(client: Client, accounts: tuple[str, ...], views: list[LaneView]) -> None:
    """Raise :class:`~streamstop.errors.UnknownAccount` for an account without a lane that no running worker has."""
    known = client.accounts()
    shown = {view.account for view in views}
    for account in accounts:
        if account not in shown:
            vendor_among(known, account)
