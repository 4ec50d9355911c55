"""Watching a shutdown: a terminal is redrawn in place, anything else gets a plain line now and then.

Whatever ends the watching, the shutdown goes on.
"""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

import click

from streamstop.cli import progress as showing
from streamstop.cli.exits import Exit, Failure
from streamstop.errors import QueueUnavailable
from streamstop.rooms import Progress, ShutdownStatus
from streamstop.shutdown import Shutdown

_PLAIN_EVERY = timedelta(seconds=2)
#: Lines of the view that are no lane's, and the prompt below it.
_OTHER_LINES = 8
_NO_CURSOR_NO_WRAP, _CURSOR_AND_WRAP = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"

#: Shows a progress, each time that there is a new one.
Show = Callable[[Progress], None]


def follow(shutdown: Shutdown, room: str, limit: timedelta | None, show: Show) -> Progress:
    """Show every progress until the shutdown has ended or `limit` is over; return the last.

    Raises :class:`~streamstop.cli.exits.Failure` where Ctrl-C or Redis ended it before.
    """
    try:
        last = None
        for last in shutdown.watch(limit):
            show(last)
        return last if last is not None else shutdown.progress()
    except KeyboardInterrupt:
        raise Failure(f"interrupted: {goes_on(room)}", Exit.INTERRUPTED) from None
    except QueueUnavailable as error:
        raise Failure(f"{error}; {come_back(room)}", Exit.NO_QUEUE) from error


def goes_on(room: str) -> str:
    """Say that the shutdown is not over, and how to see it again."""
    return f"the shutdown goes on; {come_back(room)}"


def come_back(room: str) -> str:
    """Say how to see a room's shutdown again."""
    return f"come back to it with `streamstop room show {word(room)} --watch`"


def conclude(last: Progress) -> None:
    """Return where all is well; raise the :class:`~streamstop.cli.exits.Failure` that says what is not."""
    match last.status:
        case ShutdownStatus.DONE:
            return
        case ShutdownStatus.OPEN:
            raise Failure(f"not everything ended in time: {goes_on(last.room)}", Exit.STILL_OPEN)
        case ShutdownStatus.CANCELLED:
            told = "the shutdown was cancelled; what it took back is still registered"
        case ShutdownStatus.NEEDS_ATTENTION:
            told = f"not every task is known to be stopped; see `streamstop room show {word(last.room)} --outcomes`"
    raise Failure(told, Exit.ENDED_OTHERWISE)


@contextmanager
def live(out: TextIO | None = None) -> Iterator[Show]:
    """Provide what suits `out` (stdout); a terminal is left as it was found."""
    out = out or sys.stdout
    if not (out.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield Plain(out, time.monotonic).show
        return
    out.write(_NO_CURSOR_NO_WRAP)
    try:
        yield Redrawn(out, colours="NO_COLOR" not in os.environ).show
    finally:
        out.write(_CURSOR_AND_WRAP)
        out.flush()


class Redrawn:
    """Draws over what it drew before."""

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._drawn = 0

    def show(self, progress: Progress) -> None:
        """Draw all lines anew."""
        rows = shutil.get_terminal_size().lines
        lines = showing.view(progress, most_lanes=max(1, rows - _OTHER_LINES))
        if progress.status is ShutdownStatus.OPEN:
            lines[-1] += click.style("   (Ctrl-C leaves the watching, not the shutdown)", dim=True)
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        shown = (line if self._colours else click.unstyle(line) for line in lines)
        self._out.write(up + "".join(f"\r{line}\x1b[K\n" for line in shown) + "\x1b[J")
        self._out.flush()
        self._drawn = len(lines)


class Plain:
    """Writes a line every two seconds, and one for each change of status."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out = out
        self._clock = clock
        self._next = float("-inf")
        self._status: ShutdownStatus | None = None

    def show(self, progress: Progress) -> None:
        """Write a line where it is time for one."""
        now = self._clock()
        if progress.status is self._status and now < self._next:
            return
        self._status, self._next = progress.status, now + _PLAIN_EVERY.total_seconds()
        self._out.write(f"{showing.line(progress)}\n")
        self._out.flush()


def word(room: str) -> str:
    """Return a room's name as a shell takes it for one word."""
    return shlex.quote(room)
