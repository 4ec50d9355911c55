"""The lanes' scripts keep their invariants and a model's pace in any order of steps, on a Redis in memory."""

import os

from fakeredis import FakeServer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.lane_state_machine import LaneStateMachine
from tests.support.manual_clock import ClockedFakeRedis

#: A long run: ``STREAMSTOP_EXAMPLES=3000``.
EXAMPLES = int(os.environ.get("STREAMSTOP_EXAMPLES", "40"))


def test_the_scripts_on_a_redis_in_memory_keep_every_promise() -> None:
    with ClockedFakeRedis(server=FakeServer()) as redis:
        run_state_machine_as_test(
            lambda: LaneStateMachine(redis),  # type: ignore[arg-type]  # any factory will do
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
