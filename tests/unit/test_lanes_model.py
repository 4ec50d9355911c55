"""The lanes' scripts keep their invariants and a model's pace in any order of steps, on a Redis in memory."""

import os

from fakeredis import FakeServer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from streamstop._core.lane_types import AttemptHistory, LastCall
from tests.support.lane_invariants import SECOND
from tests.support.lane_state_machine import LaneStateMachine
from tests.support.lane_strategies import LANES, ended, refused
from tests.support.manual_clock import ClockedFakeRedis

#: A long run: ``STREAMSTOP_EXAMPLES=3000``.
EXAMPLES = int(os.environ.get("STREAMSTOP_EXAMPLES", "40"))


def test_the_scripts_on_a_redis_in_memory_keep_every_promise() -> None:
    with ClockedFakeRedis(server=FakeServer()) as redis:
        run_state_machine_as_test(
            lambda: LaneStateMachine(redis),  # type: ignore[arg-type]  # any factory will do
            settings=settings(max_examples=EXAMPLES, stateful_step_count=20, suppress_health_check=list(HealthCheck)),
        )


def test_the_state_machine_holds_an_account_whose_key_is_refused_and_every_job_ends() -> None:
    with ClockedFakeRedis(server=FakeServer()) as redis:
        machine = LaneStateMachine(redis)
        machine.begin(50.0)
        machine.enqueue(LANES[0], 12, 0, 0, tells=True)
        while len(machine.owning) < 8:
            machine._advance(SECOND // 10)
            machine._take(1, 50)
        machine._report([refused(AttemptHistory(calls=1), 0)(job) for job in machine.owning])
        assert machine.holds.is_held(LANES[0].account)
        assert len(machine.ended) == 5
        machine.every_promise_is_kept()
        machine._advance(61 * SECOND)
        machine._take(1, 50)
        machine._report([ended(LastCall.WELL, 0)(job) for job in machine.owning])
        assert not machine.holds.is_held(LANES[0].account)
        machine._let_everything_end()
