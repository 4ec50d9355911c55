"""``streamstop workers``: lists the workers."""

import click

from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import json_option, redis_option
from streamstop.cli._shared.output import join_lines, json_line
from streamstop.cli.worker_output import workers_page
from streamstop.client import Client


@click.command(
    cls=Page,
    short_help="List the workers.",
    blocks={
        "Examples": ["streamstop workers", "streamstop workers --json | jq -r 'select(.state == \"lost\") | .name'"],
        "Exit codes": ["0    listed, even if there are none", "2    bad input", "4    Redis did not answer"],
    },
)
@json_option
@redis_option
def workers(*, as_json: bool, redis: str | None) -> None:
    """List the workers with the jobs under way and the last sign of life of each.

    A worker shows a sign of life every 5 s. After 30 s without one it is lost, and it is listed for an hour more. A
    worker is stuck if a part of it has not answered for 30 s. Below the list stand the lanes for which workers have
    different limits.
    """
    with Client(redis) as client:
        views = client.workers()
    if as_json:
        click.echo(join_lines(map(json_line, views)), nl=bool(views))
    else:
        click.echo(join_lines(workers_page(views)))
