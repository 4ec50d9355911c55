"""``streamstop room register`` and ``unregister``: the stream tasks of a room, given as the stops that end them."""

import json
import shlex
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from streamstop._core.commands import Command
from streamstop._core.membership import check_room
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.input import check_accounts, read_commands
from streamstop.cli._shared.options import (
    account_option,
    any_region_option,
    combine,
    from_option,
    json_option,
    operation_arguments,
    redis_option,
)
from streamstop.cli._shared.output import counted, printable
from streamstop.cli._shared.parsing import Defaults
from streamstop.client import Client
from streamstop.operations import Kind

_F = TypeVar("_F", bound=Callable[..., Any])
#: The keys of a line. Priority and expiry are the shutdown's own.
_LINE_KEYS = ("operation", "account", "params")
FILE_LINE = '{"operation": "live.StopMPUTask", "params": {"AppId": "a", "TaskId": "t-1"}}'
FILE_TITLE = "A line of FILE (account may be added)"
EXIT_CODES = ("0    done", "2    bad input: nothing was changed", "4    Redis did not answer")


def room_argument(command: _F) -> _F:
    """Add ``ROOM``."""
    return click.argument("name", metavar="ROOM")(command)


def source_options(command: _F) -> _F:
    """Add the options that read stops from a file, and their defaults."""
    return combine(account_option, from_option("stops"), any_region_option)(command)


@click.command(
    cls=Page,
    short_help="Register stream tasks in a room.",
    blocks={
        "Examples": [
            "streamstop room register room-42 live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1",
            "streamstop room register room-42 --from tasks.jsonl",
        ],
        FILE_TITLE: [FILE_LINE],
        "Exit codes": EXIT_CODES,
    },
)
@room_argument
@operation_arguments
@source_options
@json_option
@redis_option
def register(name: str, *, as_json: bool, redis: str | None, **arguments: Any) -> None:
    """Register the stream tasks that run in a room, as the stops that will end them.

    If the room is closing or has just closed, they are stopped at once.
    """
    check_room(name)
    with Client(redis) as client:
        commands = read_stops(client, nothing="nothing was registered", **arguments)
        shutdown = client.register_many(name, commands)
    if as_json:
        click.echo(
            json.dumps({"room": name, "tasks": len(commands), "shutdown": None if shutdown is None else shutdown.id})
        )
        return
    click.echo(f"{counted(len(commands), 'task')} registered in {printable(name)}")
    if shutdown is not None:
        click.echo(
            printable(
                f"the room is closing or has just closed: stopped at once, in shutdown {shutdown.id}; "
                f"to register without stopping, run `streamstop room reopen {shlex.quote(name)}`"
            ),
            err=True,
        )


@click.command(
    cls=Page,
    short_help="Remove stream tasks from a room.",
    blocks={
        "Examples": [
            "streamstop room unregister room-42 live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1",
            "streamstop room unregister room-42 --from ended.jsonl",
        ],
        FILE_TITLE: [FILE_LINE],
        "Exit codes": EXIT_CODES,
    },
)
@room_argument
@operation_arguments
@source_options
@json_option
@redis_option
def unregister(name: str, *, as_json: bool, redis: str | None, **arguments: Any) -> None:
    """Remove stream tasks from a room, for example when they have ended by themselves."""
    check_room(name)
    with Client(redis) as client:
        commands = read_stops(client, nothing="nothing was unregistered", **arguments)
        removed = sum(client.unregister(name, command.operation, account=command.account) for command in commands)
    if as_json:
        click.echo(json.dumps({"room": name, "tasks": len(commands), "unregistered": removed}))
        return
    absent = len(commands) - removed
    not_registered = f"; {counted(absent, 'task')} had not been registered" if absent else ""
    click.echo(f"{counted(removed, 'task')} removed from {printable(name)}{not_registered}")


def read_stops(
    client: Client,
    *,
    operation: str | None = None,
    words: tuple[str, ...] = (),
    account: str | None,
    source: BinaryIO | None,
    any_region: bool,
    nothing: str,
    required: bool = True,
) -> list[Command]:
    """Read and check the stops that are given as arguments or in a file."""
    if source is None and operation is None and not required:
        return []
    defaults = Defaults(account=account, any_region=any_region)
    lines = read_commands(operation, words, source, Kind.STOP, defaults, nothing=nothing, keys=_LINE_KEYS)
    if source is not None:
        check_accounts(client, lines, source, nothing=nothing)
    return [line.command for line in lines]
