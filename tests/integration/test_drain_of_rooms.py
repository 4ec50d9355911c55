"""A drain and the shutdowns of rooms: their stream tasks are counted, and only those of one room are drained."""

from collections import Counter

import pytest
from redis import Redis

from streamstop import Client, Command, Result, ShutdownStatus
from streamstop.operations import StopPublishCdnStream
from tests.support.room_driver import LANE, ROOM, RoomDriver, stops


@pytest.fixture
def driver(client: Client, real_redis: Redis) -> RoomDriver:
    return RoomDriver(real_redis, client)


def other_stops(count: int) -> list[Command]:
    return [
        Command(operation=StopPublishCdnStream(sdk_app_id=2, task_id=f"o-{number}"), account=LANE.account)
        for number in range(count)
    ]


def results(client: Client, shutdown: str) -> dict[Result, int]:
    return dict(client.shutdown(shutdown).progress().results)


def test_the_tasks_of_a_shutdown_are_counted_as_cancelled_and_stay_registered(driver: RoomDriver) -> None:
    driver.register(*range(250))
    shutdown = driver.stop()
    driver.fan_out(shutdown)
    first = driver.members()[0]
    (taken,) = driver.take().jobs
    drained = driver.client.drain(LANE.account, by="ann@ops")
    assert drained.jobs == 249
    assert results(driver.client, shutdown.id) == {Result.CANCELLED: 249}
    assert shutdown.progress().status is ShutdownStatus.OPEN, "one is in flight"
    driver.end(shutdown, first)
    assert shutdown.progress().status is ShutdownStatus.DONE
    assert len(driver.client.room(ROOM).tasks) == 249
    outcomes = [outcome for outcome in shutdown.outcomes() if outcome.result is Result.CANCELLED]
    assert {(outcome.message, outcome.operation) for outcome in outcomes} == {("drained by ann@ops", LANE.operation)}
    assert taken.job_id not in {outcome.job_id for outcome in outcomes}


def test_only_the_jobs_of_one_room_are_drained(driver: RoomDriver) -> None:
    mine, other = driver.stop(*range(40)), driver.client.stop_room("other", other_stops(30))
    driver.fan_out(mine)
    driver.fan_out(other)
    plain = driver.client.enqueue_many(stops(*range(1000, 1005)))
    found = driver.client.drain(LANE.account, room="other", dry_run=True)
    assert (found.jobs, results(driver.client, other.id)) == (30, {})
    assert driver.client.drain(LANE.account, room="other").jobs == 30
    assert other.progress().status is ShutdownStatus.DONE
    assert results(driver.client, other.id) == {Result.CANCELLED: 30}
    assert Counter(message.get("shutdown", {}).get("shutdown") for message in driver.messages()) == {
        mine.id: 40,
        None: 5,
    }
    assert [job.peek() for job in plain] == [None] * 5
    assert driver.client.drain(LANE.account, room="nowhere").jobs == 0
    (event,) = driver.client.events()
    assert event.text == "30 waiting and 0 deferred jobs are cancelled, of room other"


def test_a_job_that_was_cancelled_by_its_id_is_counted_by_the_drain_that_removes_it(driver: RoomDriver) -> None:
    shutdown = driver.stop(1, 2)
    driver.fan_out(shutdown)
    ids = [message["headers"]["id"] for message in driver.queued()]
    driver.client.job(ids[0]).cancel()
    assert results(driver.client, shutdown.id) == {}
    assert driver.client.drain(LANE.account).jobs == 1
    assert results(driver.client, shutdown.id) == {Result.CANCELLED: 2}
    assert shutdown.progress().status is ShutdownStatus.DONE
    assert driver.queued() == []


def test_deferred_tasks_of_a_shutdown_are_counted_too(driver: RoomDriver) -> None:
    shutdown = driver.stop(1, 2, 3)
    driver.fan_out(shutdown)
    (taken,) = driver.take().jobs
    driver.redis.zadd(LANE.due, {taken.job_id: 2**50})
    driver.redis.hdel(LANE.jobs, f"{taken.job_id}:owner")
    driver.redis.zrem(LANE.leases, taken.job_id)
    drained = driver.client.drain(LANE.account, room=ROOM)
    assert (drained.waiting, drained.deferred) == (2, 1)
    assert results(driver.client, shutdown.id) == {Result.CANCELLED: 3}
    assert driver.queued() == []
    assert driver.redis.exists(LANE.due, LANE.jobs) == 0
