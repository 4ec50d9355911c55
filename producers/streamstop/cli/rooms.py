"""``streamstop room …``: stop everything that runs in a room, and see how far that is."""

import json
import sys
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import click

from streamstop.cli import progress as showing
from streamstop.cli import watching
from streamstop.cli.exits import Exit, Failure
from streamstop.cli.options import Seconds, json_option, redis_option
from streamstop.cli.pages import Page, PageGroup
from streamstop.cli.registering import (
    CODES,
    LINE,
    LINE_TITLE,
    read_stops,
    register,
    room_argument,
    source_options,
    unregister,
)
from streamstop.cli.showing import lines, printable
from streamstop.client import Client
from streamstop.errors import UnknownShutdown
from streamstop.rooms import Progress, check_callback, check_room
from streamstop.shutdown import Shutdown

_STOP_CODES = (
    "0    all ended well (without --wait or --watch: the room is closing)",
    "1    all ended, some otherwise, or the shutdown was cancelled",
    "2    bad input: nothing was stopped",
    "3    not all ended in time; the shutdown goes on",
    "4    Redis did not answer",
    "130  interrupted (Ctrl-C); the shutdown goes on",
)


@click.group(
    cls=PageGroup,
    short_help="Stop everything that runs in a room.",
    blocks={
        "Examples": [
            "streamstop room register room-42 live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1",
            "streamstop room stop room-42 --watch",
            "streamstop room show room-42",
        ]
    },
)
def room() -> None:
    """Stop everything that runs in a room, and watch it happen.

    A room is your name for stream tasks that end together, at any vendors and accounts.
    """


@room.command(
    cls=Page,
    blocks={
        "Examples": [
            "streamstop room stop room-42 --watch",
            "streamstop room stop room-42 --from more-tasks.jsonl --verify --wait 600",
            "streamstop room stop room-42 --wait 600 --json",
        ],
        LINE_TITLE: [LINE],
        "Exit codes": _STOP_CODES,
    },
)
@room_argument
@click.option("--verify", is_flag=True, help="Ask the vendors until they say themselves that each task is over.")
@click.option("--callback", metavar="URL", help="Tell this https:// URL when everything has ended.")
@click.option("--watch", is_flag=True, help="Show how far it is until everything has ended.")
@click.option("--wait", metavar="SECONDS", type=Seconds(), help="Wait, or watch, so long for everything to end.")
@source_options
@json_option
@redis_option
def stop(
    name: str,
    *,
    verify: bool,
    callback: str | None,
    watch: bool,
    wait: timedelta | None,
    as_json: bool,
    redis: str | None,
    **typed: Any,
) -> None:
    """Stop everything that is registered in a room, and what FILE adds to it.

    Return at once, with the shutdown's id; with --watch or --wait, when everything has ended. Safe to run twice:
    while the shutdown is open, the second joins it.
    """
    check_room(name)
    check_callback(callback)
    with Client(redis) as client:
        try:
            added = read_stops(client, nothing="nothing was stopped", required=False, **typed)
            shutdown = client.stop_room(name, added, verify=verify, callback=callback)
        except KeyboardInterrupt:
            again = f"streamstop room show {watching.word(name)}"
            raise Failure(f"interrupted: the room may or may not be closing; see `{again}`", Exit.INTERRUPTED) from None
        if not watch and wait is None:
            click.echo(json.dumps({"room": name, "shutdown": shutdown.id}) if as_json else shutdown.id)
            if not as_json:
                click.echo(printable(f"{name} is closing; {watching.come_back(name)}"), err=True)
            return
        _follow(shutdown, name, wait, watch=watch, as_json=as_json)


@room.command(
    cls=Page,
    blocks={
        "Examples": [
            "streamstop room show room-42",
            "streamstop room show room-42 --watch",
            "streamstop room show room-42 --outcomes --json > outcomes.jsonl",
        ],
        "Exit codes": ["0    shown; with --watch, as `streamstop room stop` has them"],
    },
)
@room_argument
@click.option("--watch", is_flag=True, help="Show how far its shutdown is until everything has ended.")
@click.option("--outcomes", is_flag=True, help="List how each task of its open or latest shutdown ended.")
@json_option
@redis_option
def show(name: str, *, watch: bool, outcomes: bool, as_json: bool, redis: str | None) -> None:
    """Show what is registered in a room, and how far its open or latest shutdown is."""
    with Client(redis) as client:
        seen = client.room(name)
        shutdown = None if seen.shutdown is None else client.shutdown(seen.shutdown)
        progress = None if shutdown is None else _progress(shutdown)
        if watch:
            if shutdown is None or progress is None:
                raise Failure(f"{name} has no shutdown to watch", Exit.ENDED_OTHERWISE)
            _follow(shutdown, name, None, watch=True, as_json=as_json)
        elif outcomes:
            ended = [] if shutdown is None else shutdown.outcomes()
            if as_json:
                for outcome in ended:
                    click.echo(json.dumps(outcome.model_dump(mode="json")))
                return
            click.echo(lines([*showing.outcome_lines(ended), "" if progress is None else showing.line(progress)]))
        else:
            page = [showing.room_json(seen, progress)] if as_json else showing.room_page(seen, progress)
            click.echo(lines(page))


@room.command(
    cls=Page,
    blocks={
        "Examples": ["streamstop room reopen room-42"],
        "Exit codes": ["0    open", "1    its shutdown has not ended, and goes on", *CODES[1:]],
    },
)
@room_argument
@redis_option
def reopen(name: str, *, redis: str | None) -> None:
    """Let what is registered in a closed room run again, rather than stop it at once."""
    with Client(redis) as client:
        if not client.reopen_room(name):
            raise Failure(f"not reopened: {watching.goes_on(name)}", Exit.ENDED_OTHERWISE)
    click.echo(f"{printable(name)} is open")


@room.command(
    cls=Page,
    blocks={
        "Examples": ["streamstop room cancel room-42"],
        "Exit codes": ["0    cancelled", "1    the room has no open shutdown", *CODES[1:]],
    },
)
@room_argument
@redis_option
def cancel(name: str, *, redis: str | None) -> None:
    """Cancel a room's shutdown: what no worker has claimed is taken back, and stays registered."""
    with Client(redis) as client:
        current = client.room(name).shutdown
        if current is None or not client.shutdown(current).cancel():
            raise Failure(f"not cancelled: {name} has no open shutdown", Exit.ENDED_OTHERWISE)
    click.echo(f"cancelling the shutdown of {printable(name)}; what was not called stays registered")


def _follow(shutdown: Shutdown, name: str, limit: timedelta | None, *, watch: bool, as_json: bool) -> None:
    """Watch or wait, show how it ended, and exit as it did."""
    display = watching.live() if watch and not as_json else nullcontext(_print_json if watch else _show_nothing)
    with display as show_one:
        last = watching.follow(shutdown, name, limit, show_one)
    if not watch:
        click.echo(showing.to_json(last) if as_json else showing.line(last))
    watching.conclude(last)


def _print_json(progress: Progress) -> None:
    click.echo(showing.to_json(progress))
    sys.stdout.flush()


def _show_nothing(_progress: Progress) -> None:
    pass


def _progress(shutdown: Shutdown) -> Progress | None:
    try:
        return shutdown.progress()
    except UnknownShutdown:
        return None


for command in (register, unregister):
    room.add_command(command)
