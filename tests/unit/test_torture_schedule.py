"""The torture's plan, which a seed decides completely."""

import pytest

from streamstop._redis.publishing import AT_ONCE
from tests.torture import schedule
from tests.torture.load import ACCOUNTS, LIMIT, lanes, name_of
from tests.torture.run import plan
from tests.torture.schedule import BY_CALLING, BY_RESUMING, Kind

pytestmark = pytest.mark.long


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_same_seed_makes_the_same_plan(seed: int) -> None:
    assert plan(seed, 120) == plan(seed, 120)


def test_another_seed_makes_another_plan() -> None:
    one, other = plan(1, 60), plan(2, 60)
    assert one.faults != other.faults
    assert one.load != other.load


def test_every_kind_comes_in_every_plan_and_each_within_its_time() -> None:
    for seed in range(20):
        faults = plan(seed, 40).faults
        assert {fault.kind for fault in faults} == schedule.ALL
        assert faults == sorted(faults, key=lambda fault: fault.at)
        assert all(0 <= fault.at <= 40 for fault in faults)


def test_only_the_kinds_that_are_asked_for_come() -> None:
    faults = plan(3, 60, kinds={Kind.KILL, Kind.REDIS}).faults
    assert {fault.kind for fault in faults} == {Kind.KILL, Kind.REDIS}
    assert plan(3, 60, kinds=()).faults == []


def test_a_worker_is_told_to_die_in_a_fan_out_just_before_a_room_is_shut_down() -> None:
    made = plan(1, 600, kinds={Kind.KILL_AT})
    openings = [room.at for room in made.load.rooms]
    pushes = [fault for fault in made.faults if fault.how.endswith("push")]
    assert pushes
    assert all(any(0 < at - fault.at < 0.1 for at in openings) for fault in pushes)
    assert {fault.how for fault in made.faults} == set(schedule.POINTS)


def test_a_worker_is_told_to_die_as_it_spreads_a_batch_just_before_a_producer_leaves_one() -> None:
    made = plan(1, 600, kinds={Kind.KILL_AT})
    left = [batch.at for batch in made.load.batches if batch.left]
    spreads = [fault for fault in made.faults if fault.how.endswith("spread")]
    assert left
    assert spreads
    assert all(any(0 < at - fault.at < 0.1 for at in left) for fault in spreads)


def test_some_batches_are_staged_and_some_of_these_are_left_to_workers() -> None:
    for seed in range(5):
        batches = plan(seed, 30).load.batches
        assert any(batch.left for batch in batches)
        assert any(not batch.left and len(batch.commands) > AT_ONCE for batch in batches)
        assert all(len(batch.commands) > AT_ONCE for batch in batches if batch.left)


def test_every_command_is_for_a_task_of_its_own() -> None:
    names = [name_of(command.operation.params) for command in plan(1, 60).load.commands()]
    assert len(names) == len(set(names)) > 2000


def test_wall_clocks_are_off_by_no_more_than_the_vendors_allow() -> None:
    errors = {schedule.clock_errors(1, worker, life) for worker in range(3) for life in range(50)}
    assert 0.0 in errors
    assert len(errors) > 3
    assert all(abs(error) < 300 for error in errors)


def test_the_producers_connection_to_redis_is_cut_silenced_and_slowed_in_turn() -> None:
    faults = plan(1, 600, kinds={Kind.PRODUCER}).faults
    assert {fault.how for fault in faults} == {"cut", "half_open", "slow"}
    assert all((fault.seconds > 0) == (fault.how != "cut") for fault in faults)
    assert all((fault.amount > 0) == (fault.how == "slow") for fault in faults)


def test_limits_are_set_for_lanes_of_the_load_below_and_above_the_vendors_own() -> None:
    faults = plan(1, 600, kinds={Kind.LIMIT}).faults
    assert {fault.how for fault in faults} == {lane.name for lane in lanes()}
    assert min(fault.amount for fault in faults) < LIMIT < max(fault.amount for fault in faults)
    assert all(fault.seconds > 2 for fault in faults)


def test_the_key_of_every_account_is_revoked_and_its_hold_is_ended_in_both_ways() -> None:
    faults = plan(1, 600, kinds={Kind.KEY}).faults
    assert {fault.how for fault in faults} == {
        f"{account.name} {end}" for account in ACCOUNTS for end in (BY_CALLING, BY_RESUMING)
    }
    assert all(fault.seconds > 0 for fault in faults)
