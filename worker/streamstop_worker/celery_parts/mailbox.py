"""Mailbox: what several threads have called in the one thread that reads it, many at a time."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from streamstop_worker.pipeline.bugs import EVENT

_log = structlog.get_logger("streamstop")


class Mailbox:
    """Letters are calls. Nothing that was put in stays unread: the reader comes after it, or is about to come."""

    def __init__(self, call_reader: Callable[[], None]) -> None:
        """`call_reader` has the reader's thread call :meth:`read`; it may be called in any thread."""
        self._call_reader = call_reader
        self._letters: deque[Callable[[], None]] = deque()
        #: Whether the reader was called, and has not begun to read since.
        self._is_called = False

    def put(self, letter: Callable[[], None]) -> None:
        """Have `letter` called soon."""
        self.add(letter)
        self.ring()

    def add(self, letter: Callable[[], None]) -> None:
        """Put a letter in; to be followed by :meth:`ring`."""
        self._letters.append(letter)

    def ring(self) -> None:
        """Have the reader come. How many letters there are says nothing here: two threads may have put one in each."""
        if not self._is_called:
            self._is_called = True
            self._call_reader()

    def read(self) -> None:
        """Call every letter, as the reader. One that fails keeps no other from being called."""
        self._is_called = False  # before the first letter is taken: what comes after it calls again
        for _ in range(len(self._letters)):
            with suppress(IndexError):  # a signal's handler has read them meanwhile
                letter = self._letters.popleft()
                self._call(letter)
        if self._letters:
            self.ring()

    def _call(self, letter: Callable[[], None]) -> None:
        try:
            letter()
        except Exception:  # noqa: BLE001  # whatever one of them meets, the others are others' news
            _log.exception(EVENT, became="what one thread told another is lost")
