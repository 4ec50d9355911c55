"""``streamstop errors``: counts what vendors answered when they did not do what they were asked."""

from datetime import timedelta

import click

from streamstop._core.journal import ERRORS_KEPT
from streamstop.cli._shared.completers import complete_account
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.input import check_known_account
from streamstop.cli._shared.options import Duration, json_option, redis_option
from streamstop.cli._shared.output import join_lines, json_line
from streamstop.cli._shared.screen import terminal_width
from streamstop.cli.journal_output import errors_table, errors_total
from streamstop.client import Client

_DEFAULT = timedelta(minutes=30)


@click.command(
    cls=Page,
    short_help="Count vendors' errors by account, operation and code.",
    blocks={
        "Examples": [
            "streamstop errors",
            "streamstop errors --since 12h --account live-cn",
            "streamstop errors --json | jq -r 'select(.count > 100) | .code'",
        ],
        "Exit codes": [
            "0    counted, even if there are none",
            "2    bad input, or no running worker has the account and it has no errors",
            "4    Redis did not answer",
        ],
    },
)
@click.option(
    "--since",
    metavar="AGE",
    type=Duration(ERRORS_KEPT),
    default=_DEFAULT,
    help="Only answers of the last AGE, in steps of five minutes: 30m, 12h, 1d at most.  [default: 30m]",
)
@click.option("--account", metavar="NAME", shell_complete=complete_account, help="Only those of the account.")
@json_option
@redis_option
def errors(*, since: timedelta, account: str | None, as_json: bool, redis: str | None) -> None:
    """Count vendors' errors by account, operation and code, the most first, with the newest message and request id.

    Every answer that is no success counts, those of deferred jobs too, and so do faults of the network. Times are UTC.
    """
    with Client(redis) as client:
        counts = client.errors(since=since, account=account)
        if not counts:
            check_known_account(client, account)
    if as_json:
        lines = [json_line(count) for count in counts]
    else:
        width = terminal_width()
        lines = [*(errors_table(counts, width) if counts else ()), errors_total(counts)]
    if lines:
        click.echo(join_lines(lines))
