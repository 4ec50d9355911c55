"""``streamstop room register`` and ``unregister``: say what runs in a room, by the stops that will end it."""

import json
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from streamstop.cli import sources, watching
from streamstop.cli.completion import complete_operation, complete_parameter
from streamstop.cli.options import account_option, any_region_option, from_option, json_option, redis_option
from streamstop.cli.pages import Page
from streamstop.cli.progress import number
from streamstop.cli.reading import Defaults
from streamstop.cli.showing import printable
from streamstop.client import Client
from streamstop.commands import Command
from streamstop.operations import Kind
from streamstop.rooms import check_room

_F = TypeVar("_F", bound=Callable[..., Any])
#: A room's shutdown says itself which task goes first, and until when.
_KEYS = ("operation", "account", "params")
LINE = '{"operation": "live.StopMPUTask", "account": "live-cn", "params": {"AppId": "yourapp", "TaskId": "t-1"}}'
LINE_TITLE = "A line of FILE (account may be left out)"
CODES = ("0    done", "2    bad input: nothing was changed", "4    Redis did not answer")


def room_argument(command: _F) -> _F:
    """Add ``ROOM``."""
    return click.argument("name", metavar="ROOM")(command)


def _task_parameters(command: _F) -> _F:
    """Add what says which stream tasks are meant."""
    parts = (
        click.argument("operation", required=False, shell_complete=complete_operation),
        click.argument("words", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=complete_parameter),
        source_options,
    )
    for part in reversed(parts):
        command = part(command)
    return command


def source_options(command: _F) -> _F:
    """Add where stops are read from, and what the lines may leave out."""
    parts = (
        account_option,
        from_option("stops"),
        any_region_option,
    )
    for part in reversed(parts):
        command = part(command)
    return command


@click.command(
    cls=Page,
    blocks={
        "Examples": [
            "streamstop room register room-42 live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1",
            "streamstop room register room-42 --from tasks.jsonl",
        ],
        LINE_TITLE: [LINE],
        "Exit codes": CODES,
    },
)
@room_argument
@_task_parameters
@json_option
@redis_option
def register(name: str, *, as_json: bool, redis: str | None, **typed: Any) -> None:
    """Note that stream tasks run in a room, by the stops that will end them.

    In a room that is closing, or has just closed, they are stopped at once.
    """
    check_room(name)
    with Client(redis) as client:
        commands = read_stops(client, nothing="nothing was registered", **typed)
        joined = client.register_many(name, commands)
    if as_json:
        click.echo(
            json.dumps({"room": name, "tasks": len(commands), "shutdown": None if joined is None else joined.id})
        )
        return
    click.echo(f"{number(len(commands), 'task')} registered in {printable(name)}")
    if joined is not None:
        click.echo(
            printable(
                f"the room is closing or has just closed: stopped at once, in shutdown {joined.id}; "
                f"`streamstop room reopen {watching.word(name)}` ends this"
            ),
            err=True,
        )


@click.command(
    cls=Page,
    blocks={
        "Examples": [
            "streamstop room unregister room-42 live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1",
            "streamstop room unregister room-42 --from ended.jsonl",
        ],
        LINE_TITLE: [LINE],
        "Exit codes": CODES,
    },
)
@room_argument
@_task_parameters
@json_option
@redis_option
def unregister(name: str, *, as_json: bool, redis: str | None, **typed: Any) -> None:
    """Take stream tasks out of a room, as when they have ended by themselves."""
    check_room(name)
    with Client(redis) as client:
        commands = read_stops(client, nothing="nothing was unregistered", **typed)
        removed = sum(client.unregister(name, one.operation, account=one.account) for one in commands)
    if as_json:
        click.echo(json.dumps({"room": name, "tasks": len(commands), "unregistered": removed}))
        return
    left = len(commands) - removed
    missing = f"; {number(left, 'task')} had not been registered" if left else ""
    click.echo(f"{number(removed, 'task')} taken out of {printable(name)}{missing}")


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
    """Read the stops that were typed or are in a file, and find them valid."""
    if source is None and operation is None and not required:
        return []
    defaults = Defaults(account=account, any_region=any_region)
    read = sources.read(operation, words, source, Kind.STOP, defaults, nothing=nothing, keys=_KEYS)
    if source is not None:
        sources.check_accounts(client, read, source, nothing=nothing)
    return [line.command for line in read]
