"""The lanes' scripts keep their invariants on a real Redis, whose Lua may differ from that in memory."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop._wire.reports import Throttled
from streamstop_simulator.demo.embedded_redis import RedisServer
from tests.support.lane_invariants import SECOND
from tests.support.lane_state_machine import LaneStateMachine
from tests.support.lane_strategies import LANES, ended
from tests.support.manual_clock import ClockedRedis

#: A long run: ``STREAMSTOP_EXAMPLES=3000``.
EXAMPLES = int(os.environ.get("STREAMSTOP_EXAMPLES", "60"))


@pytest.mark.timeout(900)  # on a busy machine its examples take minutes
@pytest.mark.long
def test_the_scripts_on_a_real_redis_keep_every_promise(redis_process: RedisServer) -> None:
    with ClockedRedis(port=redis_process.port) as redis:
        run_state_machine_as_test(
            lambda: LaneStateMachine(redis),  # type: ignore[arg-type]  # any factory will do
            settings=settings(max_examples=EXAMPLES, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
        )


def test_a_report_of_a_job_that_its_worker_no_longer_owns_clamps_too(redis_process: RedisServer) -> None:
    with ClockedRedis(port=redis_process.port) as redis:
        machine = LaneStateMachine(redis)
        machine.begin(0.4)
        machine.enqueue(LANES[0], 3, 0, 0, tells=True)
        (first,) = machine._take(0, 1)
        machine._report([Throttled(job=first, hint=None, history=AttemptHistory())])
        machine._advance(60 * SECOND)
        (second,) = machine._take(0, 1)
        machine._advance(-7200 * SECOND)
        # The first of the two raises the share of the pace, and ends the job: the second clamps by that share.
        machine._report([ended(LastCall.WELL, 0)(second) for _ in range(2)])
        machine._advance(SECOND)
        machine.every_promise_is_kept()
        assert machine.models[LANES[0]].share == 55
        machine._let_everything_end()
