"""Fixtures that all tests share: a real Redis server, the simulator, clients."""

from collections.abc import Iterator

import pytest
from redis import Redis

from streamstop import Client
from streamstop_simulator import SimulatorClient, run_in_thread
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """Run one real redis-server for the session; a machine without one fails here, and says how to get it."""
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis_process: RedisServer) -> str:
    """Return the url of an empty real Redis."""
    with redis_process.client() as client:
        client.flushall()
    return redis_process.url


@pytest.fixture
def real_redis(redis_url: str, redis_process: RedisServer) -> Iterator[Redis]:
    """Return a client of an empty real Redis."""
    with redis_process.client() as client:
        yield client


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    """Return a producer's client of an empty real Redis."""
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def simulator() -> Iterator[SimulatorClient]:
    """Return a simulator of its own, with its default accounts."""
    with run_in_thread() as running:
        yield running
