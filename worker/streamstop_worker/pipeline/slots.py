"""Slots: counts the jobs of a worker, and lets each wait for its slot, the moment of its call."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: How many jobs may be between their take and their call. The event loop can send only so many before their slots are
#: over; further jobs would be sent late, and another worker may be free.
MOST_UNSENT = 64


@dataclass
class Slots:
    """The jobs of a worker from their take to their end."""

    #: How many may be under way at once.
    concurrency: int
    draining: bool = False
    # Only one thread changes each counter: Celery's thread _taken, and the event loop's thread the others.
    _taken: int = 0
    _unserved: int = 0
    _sent: int = 0
    _ended: int = 0
    _waiting: set[asyncio.Future[bool]] = field(default_factory=set)

    @property
    def under_way(self) -> int:
        """How many jobs are taken and have not ended."""
        return self._taken + self._unserved - self._ended

    @property
    def unsent(self) -> int:
        """How many jobs are taken, and are neither called nor known to need no call."""
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
        """Count a job of a lane that no worker can serve. Call this in the event loop."""
        self._unserved += 1

    def send(self) -> None:
        """Count a job that is called now or will not be called."""
        self._sent += 1

    def end(self) -> None:
        """Count a job that has ended."""
        self._ended += 1

    async def wait(self, moment: float) -> bool:
        """Wait until `moment`, by the monotonic clock in s. Return False at once if the worker drains."""
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
        """Take and send no more jobs: every wait for a slot returns False. Call this in the event loop."""
        self.draining = True
        for over in self._waiting:
            _resolve(over, False)


def _resolve(over: "asyncio.Future[bool]", value: bool) -> None:
    if not over.done():
        over.set_result(value)


class Once:
    """Calls a function the first time only."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        """Call the function unless it was called before."""
        call, self._call = self._call, None
        if call is not None:
            call()
