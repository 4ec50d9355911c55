"""Fixtures of unit tests: lanes on a Redis in memory with a manual clock, and the path of an accounts file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.lane_driver import LaneDriver
from tests.support.manual_clock import ManualClock, fake_redis


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def redis(clock: ManualClock) -> Iterator[Redis]:
    with fake_redis(clock) as redis:
        yield redis


@pytest.fixture
def lane(redis: Redis, clock: ManualClock) -> LaneDriver:
    """A lane of 10 calls a second."""
    return LaneDriver(redis, clock, limit=10)


@pytest.fixture
def accounts_file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.toml"
