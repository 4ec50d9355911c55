"""Records Ctrl-C, SIGTERM and SIGHUP, and raises them where the code checks for them.

A signal cannot come between the start of a process and its registration for the clean-up, and a second Ctrl-C changes
neither the clean-up nor the exit code.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        #: The exit code that shells use: 130 for Ctrl-C, 143 for SIGTERM.
        self.exit_code = 128 + number


class Interrupt:
    """The first signal that asked the program to end."""

    def __init__(self) -> None:
        self._number: int | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether there was a signal."""
        return self._number is not None

    def check(self) -> None:
        """Raise :class:`Interrupted` if there was a signal."""
        if self._number is not None:
            raise Interrupted(self._number)

    def record(self, number: int, frame: FrameType | None = None) -> None:
        """Record a signal; this is the signal handler."""
        del frame
        if self._number is None:
            self._number = number


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Record signals until the block ends, then restore the previous handlers.

    After a signal the program ends. Further signals are then ignored, because the restored handlers, and Python's own
    end, would let them kill it with another exit code.
    """
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt.record) for number in _SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if interrupt.is_recorded else handler)
