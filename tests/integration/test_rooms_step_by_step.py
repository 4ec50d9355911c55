"""Rooms step by step: the scripts on a real Redis, and the fan-out as a generator that tests can abandon."""

from collections import Counter
from datetime import timedelta

import pytest
from redis import Redis

from streamstop import Client, Command, Result, ShutdownStatus
from streamstop._core.constants import ARRIVALS, WAKE
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.membership import Membership, member_result_of
from streamstop._redis.rooms import CALLBACKS, CONTROL
from streamstop._wire.reports import Retried
from streamstop.operations import StopStreamIngest
from streamstop_worker.shutdowns import fan_out as shutdowns
from tests.support.client_connections import connections_of
from tests.support.room_driver import LANE, ROOM, RoomDriver, outcome

WAITS_AGAIN = '{"status": "RETRY", "result": null}'


@pytest.fixture
def driver(client: Client, real_redis: Redis) -> RoomDriver:
    connections_of(client).known_accounts.publish({LANE.account: "tencent"})
    return RoomDriver(real_redis, client)


# The abandoned fan-out


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 4, 5, 6])
def test_a_fan_out_that_is_killed_after_any_batch_is_repeated_and_every_task_has_one_job(
    driver: RoomDriver, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(shutdowns, "BATCH", 100)
    driver.register(*range(600))
    shutdown = driver.stop(*range(500, 750))
    killed = driver.worker.fan_out(shutdown.id)
    for _ in range(batches):
        next(killed)
    driver.fan_out(shutdown)
    members = driver.members()
    assert len(members) == len(set(members)) == shutdown.progress().total == 750


def test_a_fan_out_that_is_killed_after_its_last_job_ends_when_it_is_repeated(
    driver: RoomDriver,
) -> None:
    driver.register(*range(10))
    shutdown = driver.stop()
    killed = driver.worker.fan_out(shutdown.id)
    next(killed)
    for member in driver.members():
        driver.end(shutdown, member)
    assert shutdown.progress().status is ShutdownStatus.OPEN, "nobody knows yet that this was all"
    driver.fan_out(shutdown)
    progress = shutdown.progress()
    assert (progress.status, progress.total, progress.ended) == (ShutdownStatus.DONE, 10, 10)
    assert len(driver.members()) == 10


def test_two_fan_outs_of_one_shutdown_at_the_same_time_give_every_task_one_job(
    driver: RoomDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdowns, "BATCH", 50)
    driver.register(*range(600))
    shutdown = driver.stop(*range(600, 900))
    running = [driver.worker.fan_out(shutdown.id) for _ in range(3)]
    while running:
        running = [one for one in running if next(one, None) is not None]
    members = driver.members()
    assert len(members) == len(set(members)) == shutdown.progress().total == 900


def test_a_repeated_fan_out_assigns_the_same_priorities(driver: RoomDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdowns, "BATCH", 100)
    shutdown = driver.stop(*range(10))
    driver.fan_out(shutdown)
    driver.register(*range(10, 600))
    killed = driver.worker.fan_out(shutdown.id)
    next(killed)
    driver.fan_out(shutdown)
    driver.fan_out(shutdown)
    priorities = Counter(message["properties"]["priority"] for message in driver.queued())
    assert priorities == {3: 20, 6: 200, 9: 380}


# What joins, counts and ends


def test_stopping_a_room_twice_with_the_same_commands_stops_each_task_once(driver: RoomDriver) -> None:
    shutdown = driver.stop("a", "b")
    driver.fan_out(shutdown)
    driver.end(shutdown, driver.members()[0])
    assert driver.stop("a", "b") == shutdown
    driver.fan_out(shutdown)
    assert (len(driver.members()), shutdown.progress().total) == (2, 2)


def test_a_task_that_is_registered_again_after_its_stop_is_stopped_again(driver: RoomDriver) -> None:
    shutdown = driver.stop("a", "b")
    driver.fan_out(shutdown)
    driver.end(shutdown, driver.members()[0])
    assert driver.register("a") == shutdown
    driver.fan_out(shutdown)
    assert (len(driver.members()), shutdown.progress().total) == (3, 3)


def test_a_verified_stop_counts_in_the_lane_of_the_stop(driver: RoomDriver) -> None:
    stop = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="a"), account=LANE.account)
    shutdown = driver.client.stop_room(ROOM, [stop], verify=True)
    driver.fan_out(shutdown)
    message = driver.messages(stop.lane)[0]
    membership = Membership.of_message(message)
    assert membership is not None
    status_lane = Lane(LANE.account, "trtc.DescribeStreamIngest")
    verified = member_result_of(membership, outcome(membership, Result.VERIFIED))
    driver.rooms.record_member_result(status_lane, verified)
    lanes = [(lane.operation, lane.total, lane.ended) for lane in shutdown.progress().lanes]
    assert lanes == [("trtc.StopStreamIngest", 1, 1)]


def test_a_member_that_was_cancelled_before_it_had_a_job_counts_in_its_lane(driver: RoomDriver) -> None:
    shutdown = driver.stop("a", "b")
    assert shutdown.cancel()
    driver.take_back(shutdown)
    progress = shutdown.progress()
    assert (progress.status, progress.total, progress.ended) == (ShutdownStatus.CANCELLED, 2, 2)
    assert [(lane.total, lane.ended) for lane in progress.lanes] == [(2, 2)]


def test_a_shutdown_of_an_operation_that_this_worker_does_not_know_can_be_cancelled(driver: RoomDriver) -> None:
    shutdown = driver.stop("a")
    key = f"streamstop.shutdown.{shutdown.id}:tasks"
    member, command = driver.redis.hgetall(key).popitem()
    driver.redis.hset(key, member, command.replace(b"trtc.StopPublishCdnStream", b"trtc.StopSomethingNew"))
    assert shutdown.cancel()
    driver.take_back(shutdown)
    assert shutdown.progress().status is ShutdownStatus.CANCELLED


def test_a_job_that_ends_after_its_shutdown_was_forgotten_leaves_no_key_behind(driver: RoomDriver) -> None:
    shutdown = driver.stop("a")
    driver.fan_out(shutdown)
    for key in driver.redis.keys(f"streamstop.shutdown.{shutdown.id}*"):
        driver.redis.delete(key)
    driver.end(shutdown, driver.members()[0])
    assert driver.redis.keys("streamstop.shutdown.*") == []


def test_a_task_does_not_join_a_shutdown_that_is_forgotten(driver: RoomDriver) -> None:
    shutdown = driver.stop()
    assert shutdown.progress().status is ShutdownStatus.DONE
    driver.redis.delete(f"streamstop.shutdown.{shutdown.id}")
    assert driver.register("a") is None
    assert driver.redis.keys("streamstop.shutdown.*") == []


def test_a_task_that_is_registered_again_while_its_stop_is_under_way_is_stopped_again(driver: RoomDriver) -> None:
    """The vendor may have ended its predecessor already: the stop that is under way would end nothing else."""
    shutdown = driver.stop("a")
    driver.fan_out(shutdown)
    assert len(driver.take().jobs) == 1
    assert driver.register("a") == shutdown
    driver.fan_out(shutdown)
    assert (len(driver.members()), shutdown.progress().total) == (1, 2)
    (first,) = {*driver.redis.hkeys(f"streamstop.shutdown.{shutdown.id}:tasks")} - {driver.members()[0].encode()}
    driver.end(shutdown, first.decode())
    assert len(driver.client.room(ROOM).tasks) == 1, "the one that was started last still runs"
    driver.end(shutdown, driver.members()[0])
    assert driver.client.room(ROOM).tasks == ()
    assert shutdown.progress().status is ShutdownStatus.DONE


def test_a_task_that_is_registered_again_before_its_stop_is_claimed_is_stopped_once(driver: RoomDriver) -> None:
    shutdown = driver.stop("a")
    driver.fan_out(shutdown)
    assert driver.register("a") == driver.register("a") == shutdown
    driver.fan_out(shutdown)
    assert (len(driver.members()), shutdown.progress().total) == (1, 1)


def test_a_job_of_a_shutdown_that_is_cancelled_while_it_waits_counts_in_it(driver: RoomDriver) -> None:
    shutdown = driver.stop("a", "b")
    driver.fan_out(shutdown)
    membership = Membership(shutdown=shutdown.id, member=driver.members()[0])
    job_id = membership.job_id(LANE)
    assert driver.client.job(job_id).cancel().result is Result.CANCELLED
    take = driver.take()
    assert take.jobs == []
    assert [ended.job_id for ended in take.ended] == [job_id]
    driver.worker.record_cancelled_member(LANE, membership, driver.lanes.record_of(job_id))
    assert shutdown.progress().results == {Result.CANCELLED: 1}


def test_every_key_of_a_shutdown_ends(driver: RoomDriver) -> None:
    driver.register("a", "b")
    shutdown = driver.stop("c", callback={"task": "told"})

    def without_end() -> list[bytes]:
        keys = driver.redis.keys("streamstop.shutdown.*") + driver.redis.keys("streamstop.room.*")
        return [key for key in keys if driver.redis.ttl(key) < 0]

    assert without_end() == []
    driver.fan_out(shutdown)
    assert without_end() == []
    for member in driver.members():
        driver.end(shutdown, member)
        assert without_end() == []
    assert shutdown.progress().status is ShutdownStatus.DONE
    ends = {driver.redis.ttl(key) for key in driver.redis.keys("streamstop.shutdown.*")}
    assert all(end <= 7 * 86400 for end in ends)
    assert driver.register("d") == shutdown
    assert without_end() == []


def test_a_shutdowns_first_jobs_do_not_wait_for_the_sweep(driver: RoomDriver) -> None:
    shutdown = driver.stop("a", "b")
    assert driver.redis.spop(ARRIVALS, 9) == [CONTROL.name.encode()], "the fan-out is told at once"
    assert driver.redis.lpop(WAKE, 9) == [b"1"]
    driver.fan_out(shutdown)
    assert driver.redis.spop(ARRIVALS, 9) == [LANE.name.encode()]
    assert driver.redis.lpop(WAKE, 9) == [b"1"]


def test_a_repeated_fan_out_skips_completed_work(driver: RoomDriver) -> None:
    driver.register(*range(1000))
    shutdown = driver.stop()
    killed = driver.worker.fan_out(shutdown.id)
    first = next(killed)
    assert sum(driver.worker.fan_out(shutdown.id)) == 1000 - first


def test_callbacks_wait_in_a_lane_of_their_own_where_they_hold_up_no_fan_out(driver: RoomDriver) -> None:
    shutdown = driver.stop(callback={"task": "told"})
    assert shutdown.progress().status is ShutdownStatus.DONE
    assert driver.messages(CONTROL) == []
    assert [message["to"] for message in driver.messages(CALLBACKS)] == [{"task": "told"}]
    assert driver.redis.sismember(ARRIVALS, CALLBACKS.name)


def test_a_deferred_job_of_a_shutdown_that_is_cancelled_counts_in_it(driver: RoomDriver) -> None:
    shutdown = driver.stop("a")
    driver.fan_out(shutdown)
    member = driver.members()[0]
    (job,) = driver.take().jobs
    later = timedelta(minutes=1)
    driver.schedule.report(
        [Retried(job=job, delay=later, history=AttemptHistory(1, 1), record=WAITS_AGAIN, kept=later)]
    )
    assert driver.client.job(job.job_id).cancel().result is Result.CANCELLED
    assert driver.members() == [member], "a worker meets it once more, to count it"
    take = driver.take()
    assert take.jobs == []
    assert [ended.job_id for ended in take.ended] == [job.job_id]
    membership = Membership(shutdown=shutdown.id, member=member)
    driver.worker.record_cancelled_member(LANE, membership, driver.lanes.record_of(job.job_id))
    assert shutdown.progress().results == {Result.CANCELLED: 1}
