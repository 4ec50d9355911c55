"""Fixtures of unit tests: lanes on a Redis in memory with a manual clock, the pipeline of a job, an accounts file."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from streamstop_worker.pipeline import execute
from tests.support.lane_driver import LaneDriver
from tests.support.manual_clock import ManualClock, fake_redis
from tests.support.pipeline import Pipeline, pipeline


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
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The pipeline of one job, from a Redis in memory to the call."""
    # On a busy machine a job may come to its slot late; here it is called all the same.
    monkeypatch.setattr(execute, "LATE_S", 3600.0)
    monkeypatch.setattr(execute, "SPARE", timedelta(hours=1))
    with pipeline(tmp_path) as bench:
        yield bench
        assert (bench.slots.under_way, bench.slots.unsent) == (0, 0), "every job is counted to its end"


@pytest.fixture
def accounts_file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.toml"
