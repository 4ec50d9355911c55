"""Slots: how jobs wait in a worker for the moment of their call, and how many it should hold."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: How many jobs may be between their take and their call beside those that wait for their slots. More than the event
#: loop sends within its delay for one slot would only leave late; another worker may be free.
MOST_UNSENT = 64


@dataclass
class Slots:
    """The jobs of a worker, from their take to their end."""

    #: How many may be under way at once.
    concurrency: int
    draining: bool = False
    # Each of these is counted in one thread only: Celery's takes, and the event loop's strangers, sends and ends.
    _taken: int = 0
    _unserved: int = 0
    _sent: int = 0
    _ended: int = 0
    _waiting: set[asyncio.Future[bool]] = field(default_factory=set)

    @property
    def under_way(self) -> int:
        """How many jobs are taken, and have not ended."""
        return self._taken + self._unserved - self._ended

    @property
    def unsent(self) -> int:
        """How many jobs are taken, and neither called nor found to need no call."""
        return self._taken + self._unserved - self._sent

    @property
    def room(self) -> int:
        """How many jobs the worker may take now."""
        if self.draining:
            return 0
        return max(0, min(self.concurrency - self.under_way, MOST_UNSENT - self.unsent))

    def take(self) -> None:
        """Count a job that was taken."""
        self._taken += 1

    def take_unserved(self) -> None:
        """Count a job that was taken for a lane that no worker can serve. To be called in the event loop."""
        self._unserved += 1

    def send(self) -> None:
        """Count a job that is called now, or that will not be called."""
        self._sent += 1

    def end(self) -> None:
        """Count a job that has ended."""
        self._ended += 1

    async def wait(self, moment: float) -> bool:
        """Wait until `moment`, by the monotonic clock in s; False where the worker is to send nothing more."""
        delay = moment - time.monotonic()
        if delay <= 0 or self.draining:
            return not self.draining
        loop = asyncio.get_running_loop()
        over: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(delay, _resolve, over, True)
        self._waiting.add(over)
        try:
            return await over
        finally:
            timer.cancel()
            self._waiting.discard(over)

    def drain(self) -> None:
        """Take and send nothing more: whoever waits for a slot is told. To be called in the event loop."""
        self.draining = True
        for over in self._waiting:
            _resolve(over, False)


def _resolve(over: "asyncio.Future[bool]", value: bool) -> None:
    if not over.done():
        over.set_result(value)


class Once:
    """Calls something the first time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        """Call it, unless that was done."""
        call, self._call = self._call, None
        if call is not None:
            call()
