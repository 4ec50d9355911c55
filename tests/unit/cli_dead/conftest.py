"""Fixtures for ``streamstop dead``: dead letters on a Redis in memory."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from streamstop._redis.connections import Connections
from streamstop._redis.journal import Journal
from streamstop._redis.lanes import Lanes
from streamstop.outcomes import Result
from tests.support.dead_cli import OF_OTHER
from tests.support.dead_letters import COMMAND, LANE, OTHER, FailingLanes
from tests.support.manual_clock import ManualClock, fake_redis


@pytest.fixture
def failing_lanes(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingLanes]:
    """Return failing lanes, to which every client connects."""
    clock = ManualClock()
    with fake_redis(clock) as redis:
        made = FailingLanes(redis, clock)
        monkeypatch.setattr(Connections, "dead", property(lambda _self: made.dead))
        monkeypatch.setattr(Connections, "redis", property(lambda _self: redis))
        monkeypatch.setattr(Connections, "lanes", property(lambda _self: Lanes(redis)))
        monkeypatch.setattr(Connections, "journal", property(lambda _self: Journal(redis)))
        yield made


@pytest.fixture
def four_letters(failing_lanes: FailingLanes) -> FailingLanes:
    """Return lanes with three dead letters, a minute apart, and an unreadable one."""
    failing_lanes.fail_job("a", code="Forbidden.RAM")
    failing_lanes.fail_job("b", OTHER, result=Result.NOT_FOUND, command=OF_OTHER)
    failing_lanes.fail_job("c", result=Result.EXPIRED, command={**COMMAND, "expires_at": 1.0})
    failing_lanes.redis.lpush(LANE.queue, b"not JSON \x1b[2J")
    failing_lanes.take()
    failing_lanes.clock.advance(timedelta(minutes=1))
    return failing_lanes
