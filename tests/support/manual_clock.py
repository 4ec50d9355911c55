"""A clock that tests advance by hand, given to Redis in one of two ways, so that no test of a lane waits.

- :func:`fake_redis`: a Redis in memory that takes its time from this clock. Scripts run as they are, and keys expire.
- :class:`ClockedRedis` and :class:`ClockedFakeRedis`: clients that read the clock from a key wherever a script asks
  for ``TIME``, because a real server's time cannot be set. Keys expire by the server's own time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

from fakeredis import FakeRedis, FakeServer
from redis import Redis
from redis.commands.core import Script

#: 2026-01-01; its microseconds have as many digits as they will have for centuries.
START_US = 1_767_225_600_000_000
#: The key that holds the clock, in the shape of TIME's reply.
CLOCK_KEY = "test.clock"

_ASKED = "redis.call('TIME')"
_ANSWERED = f"redis.call('LRANGE', '{CLOCK_KEY}', 0, 1)"


class ManualClock:
    """A moment in µs since the epoch, which only the test advances."""

    def __init__(self) -> None:
        self.now_us = START_US

    def advance(self, duration: timedelta) -> None:
        """Advance by `duration`."""
        self.now_us += duration // timedelta(microseconds=1)

    def seconds(self) -> float:
        """Return the moment as ``time.time`` does, exact to the microsecond for two more centuries."""
        return self.now_us / 1_000_000


@contextmanager
def fake_redis(clock: ManualClock) -> Iterator[FakeRedis]:
    """Yield a Redis in memory that takes its time from `clock`, by way of ``time.time``."""
    with mock.patch.object(time, "time", clock.seconds), FakeRedis(server=FakeServer()) as redis:
        yield redis


class _ReadsTheClock:
    """Makes a client's scripts take their time from :data:`CLOCK_KEY`."""

    def register_script(self, script: str) -> Script:
        """Register `script` with the clock's key as its source of time, otherwise unchanged."""
        text = script.replace(_ASKED, _ANSWERED)
        assert "TIME'" not in text, "the script asks for the time in another way"
        parent: Any = super()
        registered: Script = parent.register_script(text)
        return registered

    def show(self, clock: ManualClock) -> None:
        """Set the time that scripts read."""
        client: Any = self
        seconds, microseconds = divmod(clock.now_us, 1_000_000)
        client.pipeline().delete(CLOCK_KEY).rpush(CLOCK_KEY, seconds, microseconds).execute()


class ClockedRedis(_ReadsTheClock, Redis):  # type: ignore[misc]  # redis-py overloads what it is asked to register
    """A client of a real server."""


class ClockedFakeRedis(_ReadsTheClock, FakeRedis):  # type: ignore[misc]  # as above
    """A Redis in memory."""
