"""The command line, ``streamstop``: what a person or a script has instead of a :class:`~streamstop.client.Client`.

It does nothing that the client cannot do, and nothing is enqueued before all of the input was found valid.
"""

import json

import click

from streamstop.cli import completion as completing
from streamstop.cli.dead import dead
from streamstop.cli.enqueue import status, stop
from streamstop.cli.exits import FailingGroup
from streamstop.cli.jobs import cancel, job
from streamstop.cli.options import json_option
from streamstop.cli.pages import EXIT_CODES, Page
from streamstop.cli.rooms import room
from streamstop.cli.showing import lines, operation_facts, operation_page
from streamstop.operations import OPERATIONS

__all__ = ["main"]


@click.group(
    cls=FailingGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    blocks={
        "Examples": [
            "streamstop operations",
            "streamstop stop live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1 --wait 30",
            "streamstop stop --from tasks.jsonl --wait 600 --json",
            "streamstop room stop room-42 --watch",
            "streamstop job ID",
            "streamstop dead list",
        ],
        "Exit codes": EXIT_CODES,
    },
)
@click.version_option(package_name="streamstop")
def main() -> None:
    """Stop stream tasks at cloud vendors, through the queue."""


@main.command(cls=Page, blocks={"Examples": ["streamstop operations", "streamstop operations --json"]})
@json_option
def operations(*, as_json: bool) -> None:
    """List the operations with their parameters and limits."""
    facts = [operation_facts(operation_id) for operation_id in OPERATIONS]
    if as_json:
        click.echo(lines(json.dumps(fact) for fact in facts))
    else:
        click.echo(lines(line for fact in facts for line in [*operation_page(fact), ""]).rstrip())


@main.command(
    cls=Page,
    short_help="Print a shell's completion script.",
    blocks={
        "In ~/.bashrc": ['eval "$(streamstop completion bash)"'],
        "In ~/.zshrc": ['eval "$(streamstop completion zsh)"'],
        "Once, for fish": ["streamstop completion fish > ~/.config/fish/completions/streamstop.fish"],
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, operations, parameters and accounts."""
    click.echo(completing.script(main, shell))


for command in (stop, status, room, job, cancel, dead):
    main.add_command(command)
