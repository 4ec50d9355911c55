"""Connections: one whose client does not read what it is sent is closed.

uvicorn waits for such a client for ever: its stream would count as a wait, and the end of the process would take the
whole of its grace.
"""

from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: How long a client may read nothing while more is to be sent, and while the process ends, in seconds.
STALLED_S, STALLED_AT_END_S = 60.0, 2.0


class Connection(H11Protocol):
    """A connection with a client. `uvicorn` makes one for each."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stalled_s = STALLED_S
        self._pauses = 0
        self._watching: TimerHandle | None = None

    def pause_writing(self) -> None:
        """Let the answer wait for the client: the transport holds enough."""
        super().pause_writing()
        self._pauses += 1
        if self._watching is None:
            self._watch()

    def shutdown(self) -> None:
        """End with the answer under way: the process ends."""
        super().shutdown()
        self._stalled_s = STALLED_AT_END_S
        self._watch()

    def _watch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._watching = self.loop.call_later(self._stalled_s, self._check, self._progress)

    def _check(self, before: tuple[int, int]) -> None:
        self._watching = None
        _, left = self._progress
        if left and self._progress == before:
            self.transport.abort()
        elif left:
            self._watch()

    @property
    def _progress(self) -> tuple[int, int]:
        """What changes whenever the client reads: how often the answer had to wait, and what is left to send."""
        return self._pauses, self.transport.get_write_buffer_size()
