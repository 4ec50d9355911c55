"""The lanes' scripts keep their invariants on a real Redis, whose Lua may differ from that in memory."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from streamstop_simulator.demo.embedded_redis import RedisServer
from tests.support.lane_state_machine import LaneStateMachine
from tests.support.manual_clock import ClockedRedis

#: A long run: ``STREAMSTOP_EXAMPLES=3000``.
EXAMPLES = int(os.environ.get("STREAMSTOP_EXAMPLES", "60"))


@pytest.mark.timeout(900)  # on a busy machine its examples take minutes
def test_the_scripts_on_a_real_redis_keep_every_promise(redis_process: RedisServer) -> None:
    with ClockedRedis(port=redis_process.port) as redis:
        run_state_machine_as_test(
            lambda: LaneStateMachine(redis),  # type: ignore[arg-type]  # any factory will do
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
