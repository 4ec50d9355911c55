"""The terminal: its width, and a screen that redraws lines in place."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

_HIDE_CURSOR_NO_WRAP, _SHOW_CURSOR_WRAP = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"


def terminal_width() -> int | None:
    """Return how many columns the terminal on stdout has; None if stdout is no terminal, and lines are not cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@contextmanager
def open_screen(out: TextIO) -> Iterator["Screen | None"]:
    """Provide the screen of `out`, and restore the terminal afterwards; None if `out` is no terminal."""
    if not (out.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield None
        return
    out.write(_HIDE_CURSOR_NO_WRAP)
    try:
        yield Screen(out, colours="NO_COLOR" not in os.environ)
    finally:
        out.write(_SHOW_CURSOR_WRAP)
        out.flush()


class Screen:
    """The lower part of a terminal, which is redrawn in place."""

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._drawn_lines = 0

    @property
    def rows(self) -> int:
        """How many rows the terminal has now."""
        return shutil.get_terminal_size().lines

    @property
    def columns(self) -> int:
        """How many columns it has now."""
        return shutil.get_terminal_size().columns

    def draw(self, lines: Sequence[str]) -> None:
        """Replace what was drawn before by `lines`."""
        up = f"\x1b[{self._drawn_lines}A" if self._drawn_lines else ""
        visible = (line if self._colours else click.unstyle(line) for line in lines)
        self._out.write(up + "".join(f"\r{line}\x1b[K\n" for line in visible) + "\x1b[J")
        self._out.flush()
        self._drawn_lines = len(lines)
