"""The lanes' scripts do on a real Redis what a plain Python model tells; one in memory could differ in its Lua."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from streamstop_worker.demo.embedded_redis import RedisServer
from tests.support.lane_machine import LaneMachine
from tests.support.moved_clock import ClockedRedis


def test_the_scripts_on_a_real_redis_do_what_the_model_tells(redis_process: RedisServer) -> None:
    with ClockedRedis(port=redis_process.port) as redis:
        run_state_machine_as_test(
            lambda: LaneMachine(redis),  # type: ignore[arg-type]  # any factory will do
            settings=settings(
                max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
