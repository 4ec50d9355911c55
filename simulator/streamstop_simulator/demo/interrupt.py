"""Interrupt: Ctrl-C, SIGTERM and SIGHUP are noted when they come, and obeyed where nothing is half done.

So a process that has just been started is always known to whoever stops it, and a second Ctrl-C breaks no cleaning up.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Somebody asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        #: As shells tell it: 130 for Ctrl-C, 143 for SIGTERM.
        self.exit_code = 128 + number


class Interrupt:
    """Whether somebody asked the demo to end; the first signal counts."""

    def __init__(self) -> None:
        self._number: int | None = None

    def check(self) -> None:
        """Raise :class:`Interrupted` if a signal has come."""
        if self._number is not None:
            raise Interrupted(self._number)

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal, as a signal handler does."""
        del frame
        if self._number is None:
            self._number = number


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Note signals until the block ends."""
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt.note) for number in _SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
