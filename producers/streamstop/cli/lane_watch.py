"""Watches lanes: redraws a terminal in place, or writes the table every two seconds to anything else."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from time import sleep

import click

from streamstop._core.lane_view import LaneView
from streamstop.cli._shared.output import join_lines, json_line, printable
from streamstop.cli._shared.screen import Screen, open_screen
from streamstop.cli.lane_output import lane_table
from streamstop.errors import QueueUnavailable

#: How long to wait between two looks: on a terminal, and elsewhere.
_ON_TERMINAL, _ELSEWHERE = timedelta(seconds=1), timedelta(seconds=2)


def watch_lanes(
    read: Callable[[], Sequence[LaneView]],
    empty: str,
    *,
    as_json: bool,
) -> None:
    """Show the lanes again and again, until Ctrl-C. `empty` is shown while there is none.

    Raises :class:`~streamstop.errors.QueueUnavailable` if Redis does not answer the first look. Later looks that fail
    are reported, and the next one follows.
    """
    views = read()
    with nullcontext() if as_json else open_screen(sys.stdout) as screen:
        problem = ""
        while True:
            if screen is not None:
                screen.draw(picture(screen, views, empty, problem))
            elif problem:
                click.echo(problem, err=True)
            elif as_json:
                click.echo(join_lines(map(json_line, views)), nl=bool(views))
            else:
                click.echo(join_lines([*map(click.unstyle, lane_table(views, None) or [empty]), ""]))
            sleep((_ELSEWHERE if screen is None else _ON_TERMINAL).total_seconds())
            try:
                views, problem = read(), ""
            except QueueUnavailable as error:
                problem = printable(f"{error}; trying again")


def picture(screen: Screen, views: Sequence[LaneView], empty: str, problem: str) -> list[str]:
    """Return the table, cut to the rows of the terminal, and what there is to say below it."""
    lines = lane_table(views, screen.columns) or [empty]
    below = click.style(problem, fg="red") if problem else click.style("press Ctrl-C to end", dim=True)
    most = max(3, screen.rows - 2)
    if len(lines) > most:
        lines = [*lines[: most - 2], click.style("… and more", dim=True), lines[-1]]
    return [*lines, below]
