"""Fixtures for ``streamstop dead``: dead letters on a Redis in memory."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from streamstop._redis.connections import Connections
from streamstop.outcomes import Result
from tests.support.dead_cli import OF_OTHER
from tests.support.dead_letters import COMMAND, LANE, OTHER, Cemetery
from tests.support.manual_clock import MovedClock, fake_redis


@pytest.fixture
def cemetery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cemetery]:
    """Return a cemetery, to which every client's connections lead."""
    clock = MovedClock()
    with fake_redis(clock) as redis:
        made = Cemetery(redis, clock)
        monkeypatch.setattr(Connections, "dead", property(lambda _self: made.dead))
        yield made


@pytest.fixture
def letters(cemetery: Cemetery) -> Cemetery:
    """Return a cemetery of three, died a minute after each other, and of one that nobody could read."""
    cemetery.die("a", code="Forbidden.RAM")
    cemetery.die("b", OTHER, result=Result.NOT_FOUND, command=OF_OTHER)
    cemetery.die("c", result=Result.EXPIRED, command={**COMMAND, "expires_at": 1.0})
    cemetery.redis.lpush(LANE.queue, b"not JSON \x1b[2J")
    cemetery.take()
    cemetery.clock.advance(timedelta(minutes=1))
    return cemetery
