"""A simulator that the tests of a module share; each test begins with an empty one."""

from collections.abc import Iterator

import pytest

from streamstop_simulator import (
    SimulatorClient,
    run_in_thread,
)


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorClient]:
    with run_in_thread() as simulator:
        yield simulator


@pytest.fixture
def simulator(running: SimulatorClient) -> SimulatorClient:
    running.reset()
    return running
