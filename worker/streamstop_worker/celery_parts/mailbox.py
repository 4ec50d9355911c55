"""Mailbox: calls that several threads hand over to one thread, which runs them in batches."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

_log = structlog.get_logger("streamstop")


class Mailbox:
    """A queue of calls. Every call that is added is run: a read follows each addition."""

    def __init__(self, notify_reader: Callable[[], None]) -> None:
        """`notify_reader` makes the reader's thread call :meth:`read`. Any thread may call it."""
        self._notify_reader = notify_reader
        self._calls: deque[Callable[[], None]] = deque()
        #: Whether the reader was notified and has not started to read since.
        self._is_notified = False

    def put(self, call: Callable[[], None]) -> None:
        """Run `call` soon, in the reader's thread."""
        self.add(call)
        self.ring()

    def add(self, call: Callable[[], None]) -> None:
        """Add a call without a notification. :meth:`ring` must follow."""
        self._calls.append(call)

    def ring(self) -> None:
        """Notify the reader, unless that was done. The queue's length cannot tell: two threads may add at once."""
        if not self._is_notified:
            self._is_notified = True
            self._notify_reader()

    def read(self) -> None:
        """Run every call. A call that fails does not keep the others from running."""
        self._is_notified = False  # before the first call is taken, so that a later addition notifies again
        for _ in range(len(self._calls)):
            with suppress(IndexError):  # a signal handler may have read them in the meantime
                self._run(self._calls.popleft())
        if self._calls:
            self.ring()

    def _run(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001  # the other calls must run whatever happens in this one
            _log.exception("a call between threads failed; this is a bug in streamstop")
