"""Watches a shutdown: redraws a terminal in place, or writes a line every two seconds to anything else.

The shutdown continues whatever ends the watching.
"""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

import click

from streamstop._core.progress import Progress, ShutdownStatus
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.screen import Screen, open_screen
from streamstop.cli.room_output import progress_line, progress_view
from streamstop.errors import QueueUnavailable
from streamstop.shutdowns import Shutdown

_LINE_INTERVAL = timedelta(seconds=2)
#: Lines of the view that are not lanes, and the prompt below the view.
_OTHER_LINES = 11

#: Displays a progress; called for each new one.
Show = Callable[[Progress], None]


def watch_shutdown(shutdown: Shutdown, room: str, timeout: timedelta | None, show: Show) -> Progress:
    """Show every progress until the shutdown has ended or `timeout` has passed; return the last one.

    Raises :class:`~streamstop.cli._shared.exit_codes.Failure` on Ctrl-C, and where Redis does not answer.
    """
    try:
        last = None
        for last in shutdown.watch(timeout):
            show(last)
        return last if last is not None else shutdown.progress()
    except KeyboardInterrupt:
        raise Failure(f"interrupted: {continues_message(room)}", Exit.INTERRUPTED) from None
    except QueueUnavailable as error:
        raise Failure(f"{error}; {watch_hint(room)}", Exit.NO_QUEUE) from error


def continues_message(room: str) -> str:
    """Return the message that the shutdown continues, and how to watch it."""
    return f"the shutdown continues; {watch_hint(room)}"


def watch_hint(room: str) -> str:
    """Return how to watch a room's shutdown again."""
    return f"watch it with `streamstop room show {shlex.quote(room)} --watch`"


def raise_unless_done(last: Progress) -> None:
    """Raise the :class:`~streamstop.cli._shared.exit_codes.Failure` for a shutdown that did not end well."""
    match last.status:
        case ShutdownStatus.DONE:
            return
        case ShutdownStatus.OPEN:
            raise Failure(f"some tasks did not end in time: {continues_message(last.room)}", Exit.STILL_OPEN)
        case ShutdownStatus.CANCELLED:
            message = "the shutdown was cancelled; the tasks whose stops it cancelled are still registered"
        case ShutdownStatus.NEEDS_ATTENTION:
            command = f"streamstop room show {shlex.quote(last.room)} --outcomes"
            message = f"not every task is known to be stopped; see `{command}`"
    raise Failure(message, Exit.ENDED_OTHERWISE)


@contextmanager
def open_display(out: TextIO | None = None) -> Iterator[Show]:
    """Provide the display for `out` (stdout); restore the terminal afterwards."""
    out = out or sys.stdout
    with open_screen(out) as screen:
        yield LogDisplay(out, time.monotonic).show if screen is None else TerminalDisplay(screen).show


class TerminalDisplay:
    """Redraws the view in place."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, progress: Progress) -> None:
        """Redraw all lines."""
        lines = progress_view(progress, max_lanes=max(1, self._screen.rows - _OTHER_LINES))
        if progress.status is ShutdownStatus.OPEN:
            lines[-1] += click.style("   (Ctrl-C stops the watching, not the shutdown)", dim=True)
        self._screen.draw(lines)


class LogDisplay:
    """Writes a line every two seconds, and one at each change of status."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out = out
        self._clock = clock
        self._next = float("-inf")
        self._status: ShutdownStatus | None = None

    def show(self, progress: Progress) -> None:
        """Write a line if one is due."""
        now = self._clock()
        if progress.status is self._status and now < self._next:
            return
        self._status, self._next = progress.status, now + _LINE_INTERVAL.total_seconds()
        self._out.write(f"{progress_line(progress)}\n")
        self._out.flush()
