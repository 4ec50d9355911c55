"""``streamstop find``: every job of a stream task, and the rooms in which the task is registered."""

import sys

import click

from streamstop.cli._shared.completers import complete_account, complete_operation
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import json_option, redis_option
from streamstop.cli._shared.output import join_lines, json_line, params_text, printable
from streamstop.cli._shared.screen import terminal_width
from streamstop.cli.find_output import sighting_lines
from streamstop.client import Client
from streamstop.errors import InvalidCommand


@click.command(
    cls=Page,
    short_help="Find every job of a stream task.",
    blocks={
        "Examples": [
            "streamstop find TaskId=t-1",
            "streamstop find AppId=yourapp TaskId=t-1 --account live-cn",
            "streamstop find JobId=j-1 --operation live.StopEdgeTranscodeJob --json",
        ],
        "Exit codes": [
            "0    found",
            "1    nothing is known of such a task",
            "2    bad input",
            "4    Redis did not answer",
        ],
    },
)
@click.argument("words", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--account", metavar="NAME", shell_complete=complete_account, help="Only jobs of the account.")
@click.option("--operation", metavar="NAME", shell_complete=complete_operation, help="Only jobs of the operation.")
@json_option
@redis_option
def find(
    words: tuple[str, ...], *, account: str | None, operation: str | None, as_json: bool, redis: str | None
) -> None:
    """Find every job of a stream task, and the rooms in which the task is registered.

    Print a line for each as soon as it is found: where it is (waiting, deferred, in_flight, ended, dead, registered),
    the result or the place in its lane, and when it was enqueued, is called again, or ended. Times are UTC.

    What has ended is told at once, from an index. Then leases, dead letters, lanes, accepted batches and rooms are
    searched. A job that ended is found as long as its outcome is kept, a dead letter until it is requeued or dropped.
    """
    params: dict[str, str | int] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key or key in params:
            raise InvalidCommand(
                f"parameter {word!r} must be Key=Value, such as TaskId=t-1, and each key once", field=key
            )
        params[key] = value
    found = False
    with Client(redis) as client:
        for sighting in client.find(params, account=account, operation=operation):
            found = True
            click.echo(json_line(sighting) if as_json else join_lines(sighting_lines(sighting, terminal_width())))
            sys.stdout.flush()
    if not found:
        raise Failure(printable(f"nothing is known of {params_text(params)}"), Exit.ENDED_OTHERWISE)
