"""The lanes' scripts do what a plain Python model tells, whatever producers, workers and time do."""

from fakeredis import FakeServer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.lane_machine import LaneMachine
from tests.support.moved_clock import ClockedFakeRedis


def test_the_scripts_on_a_redis_in_memory_do_what_the_model_tells() -> None:
    with ClockedFakeRedis(server=FakeServer()) as redis:
        run_state_machine_as_test(
            lambda: LaneMachine(redis),  # type: ignore[arg-type]  # any factory will do
            settings=settings(
                max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
