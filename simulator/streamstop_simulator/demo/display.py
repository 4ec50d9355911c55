"""Writes the progress: redraws it on a terminal, writes plain lines to anything else."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TextIO

import click

from streamstop_simulator.demo.screen import LaneNow, Totals, progress_lines, state, totals_line

_PLAIN_EVERY = timedelta(seconds=2)
_MIN_LINES = 12
_NO_CURSOR_NO_WRAP, _CURSOR_AND_WRAP = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"


class Display(Protocol):
    """Shows the progress of all lanes."""

    def show(self, lanes: Sequence[LaneNow], totals: Totals) -> None:
        """Show the current state."""


class TerminalDisplay:
    """Redraws the lines on a terminal."""

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._drawn = 0

    def show(self, lanes: Sequence[LaneNow], totals: Totals) -> None:
        """Redraw all lines."""
        lines = progress_lines(lanes, totals)
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        shown = (line if self._colours else click.unstyle(line) for line in lines)
        self._out.write(up + "".join(f"\r\x1b[2K{line}\n" for line in shown))
        self._out.flush()
        self._drawn = len(lines)


class PlainDisplay:
    """Writes a line every two seconds, and a line when a lane begins to rest or has ended."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last_state: dict[tuple[str, str], str] = {}
        self._next = timedelta(0)

    def show(self, lanes: Sequence[LaneNow], totals: Totals) -> None:
        """Write the lines that are due."""
        lines = []
        for lane in lanes:
            text, _ = state(lane)
            word, key = text.split()[0], (lane.account, lane.operation)
            if word != self._last_state.get(key) and word in {"rests", "done"}:
                after = f"{totals.elapsed.total_seconds():.1f} s"
                lines.append(f"{after:>6}  {lane.account} {lane.operation}: {text} ({lane.ended}/{lane.total})")
            self._last_state[key] = word
        if totals.elapsed >= self._next or totals.ended == totals.total:
            lines.append(totals_line(totals))
            self._next = totals.elapsed + _PLAIN_EVERY
        self._out.write("".join(f"{click.unstyle(line)}\n" for line in lines))
        self._out.flush()


@contextmanager
def display_on(out: TextIO = sys.stdout) -> Iterator[Display]:
    """Provide a display for `out`; restore a terminal's modes at the end."""
    high_enough = shutil.get_terminal_size().lines >= _MIN_LINES
    if not (out.isatty() and high_enough and os.environ.get("TERM", "dumb") != "dumb"):
        yield PlainDisplay(out)
        return
    out.write(_NO_CURSOR_NO_WRAP)
    try:
        yield TerminalDisplay(out, colours="NO_COLOR" not in os.environ)
    finally:
        out.write(_CURSOR_AND_WRAP)
        out.flush()
