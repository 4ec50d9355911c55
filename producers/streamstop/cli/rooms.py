"""``streamstop room``: stops everything that runs in a room, and shows the progress."""

import json
import shlex
import sys
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from streamstop._core.membership import check_callback, check_room
from streamstop._core.progress import Progress, ShutdownStatus
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.help_pages import Page, PageGroup
from streamstop.cli._shared.options import Duration, json_option, redis_option
from streamstop.cli._shared.output import join_lines, printable
from streamstop.cli._shared.waiting import worker_hint
from streamstop.cli.room_output import outcome_lines, progress_json, progress_line, room_json, room_page
from streamstop.cli.room_tasks import (
    EXIT_CODES,
    FILE_LINE,
    FILE_TITLE,
    read_stops,
    register,
    room_argument,
    source_options,
    unregister,
)
from streamstop.cli.room_watch import continues_message, open_display, raise_unless_done, watch_hint, watch_shutdown
from streamstop.client import Client
from streamstop.errors import QueueUnavailable, UnknownShutdown
from streamstop.shutdowns import Shutdown

_STOP_EXIT_CODES = (
    "0    every task is stopped (without --wait or --watch: the room is closing)",
    "1    some tasks ended with another result, or the shutdown was cancelled",
    "2    bad input: nothing was stopped",
    "3    some tasks did not end in time; the shutdown continues",
    "4    Redis did not answer",
    "130  interrupted (Ctrl-C); the shutdown continues",
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
    """Stop everything that runs in a room, and watch the progress.

    A room is a name that you give to stream tasks that end together. They may be at several vendors and accounts.
    """


@room.command(
    cls=Page,
    short_help="Stop everything in a room.",
    blocks={
        "Examples": [
            "streamstop room stop room-42 --watch",
            "streamstop room stop room-42 --from more-tasks.jsonl --verify --wait 600",
            "streamstop room stop room-42 --wait 600 --json",
        ],
        FILE_TITLE: [FILE_LINE],
        "Exit codes": _STOP_EXIT_CODES,
    },
)
@room_argument
@click.option("--verify", is_flag=True, help="Query the vendors until they confirm that each task is over.")
@click.option("--callback", metavar="URL", help="POST to this https:// URL when everything has ended.")
@click.option("--watch", is_flag=True, help="Show the progress until everything has ended.")
@click.option(
    "--wait", metavar="TIME", type=Duration(), help="Wait, or watch, up to this long for everything to end: 30, 10m."
)
@click.option(
    "--allow-empty",
    is_flag=True,
    help="Close the room also if nothing was ever registered in it and FILE has no tasks.",
)
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
    allow_empty: bool,
    as_json: bool,
    redis: str | None,
    **arguments: Any,
) -> None:
    """Stop everything that is registered in a room, and the tasks in FILE.

    Print the shutdown's ID and return at once; with --watch or --wait, return when everything has ended. It is safe
    to run this twice: while the shutdown is open, a second run joins it.
    """
    check_room(name)
    check_callback(callback)
    with Client(redis) as client:
        try:
            stops = read_stops(client, nothing="nothing was stopped", required=False, **arguments)
            if not stops and not allow_empty:
                _check_known(client, name)
            shutdown = client.stop_room(name, stops, verify=verify, callback=callback)
        except KeyboardInterrupt:
            command = f"streamstop room show {shlex.quote(name)}"
            raise Failure(
                f"interrupted: the room may or may not be closing; see `{command}`", Exit.INTERRUPTED
            ) from None
        if not watch and wait is None:
            click.echo(json.dumps({"room": name, "shutdown": shutdown.id}) if as_json else shutdown.id)
            if not as_json:
                click.echo(printable(_stop_hint(client, shutdown, name)), err=True)
            return
        _watch_or_wait(shutdown, name, wait, watch=watch, as_json=as_json)


@room.command(
    cls=Page,
    short_help="Show a room and its shutdown.",
    blocks={
        "Examples": [
            "streamstop room show room-42",
            "streamstop room show room-42 --watch",
            "streamstop room show room-42 --outcomes --json > outcomes.jsonl",
        ],
        "Exit codes": [
            "0    shown; with --watch, the exit codes of `streamstop room stop`",
            "2    bad input",
            "4    Redis did not answer",
        ],
    },
)
@room_argument
@click.option("--watch", is_flag=True, help="Show its shutdown's progress until everything has ended.")
@click.option("--outcomes", is_flag=True, help="List how each task of its open or latest shutdown ended.")
@json_option
@redis_option
def show(name: str, *, watch: bool, outcomes: bool, as_json: bool, redis: str | None) -> None:
    """Show what is registered in a room, and the progress of its open or latest shutdown."""
    with Client(redis) as client:
        view = client.room(name)
        shutdown = None if view.shutdown is None else client.shutdown(view.shutdown)
        progress = None if shutdown is None else _find_progress(shutdown)
        if watch:
            if shutdown is None or progress is None:
                raise Failure(f"{name} has no shutdown to watch", Exit.ENDED_OTHERWISE)
            _watch_or_wait(shutdown, name, None, watch=True, as_json=as_json)
        elif outcomes:
            ended = [] if shutdown is None else shutdown.outcomes()
            if as_json:
                for outcome in ended:
                    click.echo(json.dumps(outcome.model_dump(mode="json")))
                return
            click.echo(join_lines([*outcome_lines(ended), "" if progress is None else progress_line(progress)]))
        else:
            click.echo(
                room_json(view, progress) if as_json else join_lines(room_page(view, progress, datetime.now(UTC)))
            )


@room.command(
    cls=Page,
    short_help="Reopen a closed room.",
    blocks={
        "Examples": ["streamstop room reopen room-42"],
        "Exit codes": ["0    open", "1    its shutdown has not ended, and continues", *EXIT_CODES[1:]],
    },
)
@room_argument
@redis_option
def reopen(name: str, *, redis: str | None) -> None:
    """Reopen a closed room, so that tasks registered in it are no longer stopped at once."""
    with Client(redis) as client:
        if not client.reopen_room(name):
            raise Failure(f"not reopened: {continues_message(name)}", Exit.ENDED_OTHERWISE)
    click.echo(f"{printable(name)} is open")


@room.command(
    cls=Page,
    blocks={
        "Examples": ["streamstop room cancel room-42"],
        "Exit codes": ["0    cancelled", "1    the room has no open shutdown", *EXIT_CODES[1:]],
    },
)
@room_argument
@redis_option
def cancel(name: str, *, redis: str | None) -> None:
    """Cancel a room's shutdown. The tasks whose stops no worker has claimed stay registered."""
    with Client(redis) as client:
        shutdown_id = client.room(name).shutdown
        if shutdown_id is None or not client.shutdown(shutdown_id).cancel():
            raise Failure(f"not cancelled: {name} has no open shutdown", Exit.ENDED_OTHERWISE)
    click.echo(f"cancelling the shutdown of {printable(name)}; tasks whose stops were not sent stay registered")


def _check_known(client: Client, name: str) -> None:
    """Exit with 2 if nothing is registered in the room and it never had a shutdown: its name is probably misspelt."""
    try:
        view = client.room(name)
    except QueueUnavailable as error:
        raise QueueUnavailable(f"{error}; nothing was stopped") from error
    if not view.tasks and view.shutdown is None:
        raise Failure(
            f"nothing was stopped: nothing is registered in {name}; to close it anyway, give --allow-empty",
            Exit.BAD_INPUT,
        )


def _watch_or_wait(shutdown: Shutdown, name: str, timeout: timedelta | None, *, watch: bool, as_json: bool) -> None:
    """Watch or wait, print how the shutdown ended, and exit with its code."""
    display = open_display() if watch and not as_json else nullcontext(_print_json if watch else _show_nothing)
    with display as show_progress:
        last = watch_shutdown(shutdown, name, timeout, show_progress)
    if not watch:
        click.echo(progress_json(last) if as_json else progress_line(last))
    raise_unless_done(last)


def _stop_hint(client: Client, shutdown: Shutdown, name: str) -> str:
    """Return how to watch the shutdown. A mistyped room has no tasks; then return that nothing was stopped."""
    with suppress(QueueUnavailable):  # the room is closing whatever this look finds
        progress = _find_progress(shutdown)
        if progress is not None and progress.status is ShutdownStatus.DONE and progress.total == 0:
            return f"no task was registered in {name}: nothing was stopped"
    return f"{name} is closing{worker_hint(client)}; {watch_hint(name)}"


def _print_json(progress: Progress) -> None:
    click.echo(progress_json(progress))
    sys.stdout.flush()


def _show_nothing(_progress: Progress) -> None:
    pass


def _find_progress(shutdown: Shutdown) -> Progress | None:
    try:
        return shutdown.progress()
    except UnknownShutdown:
        return None


for command in (register, unregister):
    room.add_command(command)
