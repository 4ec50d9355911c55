"""Fixtures that all tests share: a real Redis server, the simulator, clients."""

import signal
from collections.abc import Iterator

import hypothesis
import pytest
import structlog
from redis import Redis

from streamstop import Client
from streamstop_simulator import SimulatorClient, run_in_thread
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from tests.support.polling import PATIENT
from tests.support.redis_content import keys_without_ttl

#: For a test marked `long`, instead of the timeout in pyproject.toml.
LONG_TIMEOUT_S = 900


# A time limit of an example, or of making one, would measure what else the machine does. pytest's timeout ends a test
# that hangs.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes of tests.

    A shell starts a background command with SIGINT ignored, and every process that it starts inherits this.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give long tests more time."""
    if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(LONG_TIMEOUT_S))


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    """Undo what a test configures: with it, other tests would log to a stream that has been closed or is not theirs."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """Run one real redis-server for the session; a machine without one fails here, and says how to get it."""
    with redis_server() as server:
        yield server


@pytest.fixture
def redis_url(redis_process: RedisServer) -> Iterator[str]:
    """Return the url of an empty real Redis; fail where the test leaves a key in it that would stay for ever."""
    with redis_process.client() as client:
        client.flushall()
        yield redis_process.url
        assert keys_without_ttl(client) == []


@pytest.fixture
def real_redis(redis_url: str, redis_process: RedisServer) -> Iterator[Redis]:
    """Return a client of an empty real Redis."""
    with redis_process.client() as client:
        yield client


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    """Return a producer's client of an empty real Redis."""
    with Client(redis_url, timeout=PATIENT) as client:
        yield client


@pytest.fixture
def simulator() -> Iterator[SimulatorClient]:
    """Return a simulator of its own, with its default accounts."""
    with run_in_thread() as running:
        yield running
