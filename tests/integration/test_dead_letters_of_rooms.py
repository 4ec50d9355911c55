"""Dead letters of shutdowns, a step at a time on a real Redis: what requeueing one does to counts and to the room."""

import json
from collections.abc import Callable

import pytest
from redis import Redis

from streamstop import Client, Result, Shutdown, ShutdownStatus
from streamstop._redis.rooms import CALLBACKS
from streamstop.outcomes import Outcome
from tests.support.client_connections import connections_of
from tests.support.room_dead_letters import RoomDeadLetterDriver, assert_exact
from tests.support.room_driver import LANE, ROOM


@pytest.fixture
def driver(client: Client, real_redis: Redis) -> RoomDeadLetterDriver:
    connections_of(client).known_accounts.publish({LANE.account: "tencent"})
    return RoomDeadLetterDriver(real_redis, client)


@pytest.fixture
def closed(driver: RoomDeadLetterDriver) -> Shutdown:
    """Return a shutdown of two registered tasks, of which one was refused."""
    driver.register("good", "bad")
    shutdown = driver.stop(callback={"task": "told"})
    driver.fan_out(shutdown)
    driver.finish("good", Result.STOPPED)
    driver.finish("bad", Result.REFUSED)
    assert shutdown.progress().status is ShutdownStatus.NEEDS_ATTENTION
    assert driver.registered() == ["bad"]
    return shutdown


def test_a_shutdown_is_open_again_until_the_requeued_task_has_ended_and_calls_back_again(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    job_id = driver.requeue()
    progress = closed.progress()
    assert (progress.status, progress.total, progress.results) == (ShutdownStatus.OPEN, 2, {Result.STOPPED: 1})
    assert_exact(progress)
    assert driver.finish("bad", Result.ALREADY_STOPPED) == job_id
    progress = closed.progress()
    assert progress.status is ShutdownStatus.DONE
    assert progress.results == {Result.STOPPED: 1, Result.ALREADY_STOPPED: 1}
    assert_exact(progress)
    assert {one.result for one in closed.outcomes()} == {Result.STOPPED, Result.ALREADY_STOPPED}
    assert driver.registered() == []
    assert len(driver.messages(CALLBACKS)) == 2


def test_shutdowns_are_listed_while_they_are_open_and_after_their_end(
    driver: RoomDeadLetterDriver, client: Client, closed: Shutdown
) -> None:
    assert client.recent_shutdowns() == [closed]
    other = client.stop_room("another room")
    assert other.progress().status is ShutdownStatus.DONE
    assert client.recent_shutdowns(1) == [other], "the latest of those that have ended"
    driver.requeue()
    assert client.recent_shutdowns() == [closed, other], "the open one comes first"
    assert driver.rooms.shutdowns.count_open() == 1
    driver.finish("bad", Result.STOPPED)
    assert client.recent_shutdowns() == [closed, other], "the latest of those that have ended"
    assert driver.rooms.shutdowns.count_open() == 0


def test_a_requeued_task_that_fails_again_is_a_letter_again_any_number_of_times(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    ids = {letter.id for letter in driver.dead.letters()}
    for result in (Result.GAVE_UP, Result.NOT_FOUND, Result.REFUSED):
        driver.requeue()
        ids.add(driver.finish("bad", result))
        progress = closed.progress()
        assert (progress.status, progress.results) == (
            ShutdownStatus.NEEDS_ATTENTION,
            {Result.STOPPED: 1, result: 1},
        )
        assert_exact(progress)
        (letter,) = driver.dead.letters()
        assert (letter.result, letter.room) == (result, ROOM)
    assert len(ids) == 4
    assert len(driver.messages(CALLBACKS)) == 4


# A room that is used again must not be closed by what a person does about its past.


def test_a_task_that_is_registered_in_a_room_in_use_is_not_stopped_for_an_old_letter(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    driver.expire_closed_room()
    driver.requeue()
    assert driver.register("today") is None
    driver.finish("bad", Result.STOPPED)
    assert closed.progress().status is ShutdownStatus.DONE
    assert driver.register("today's second") is None, "the end of the shutdown does not close the room again"
    assert driver.registered() == ["today", "today's second"]


def test_a_room_that_is_stopped_again_while_an_old_letter_is_requeued_has_a_new_shutdown(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    driver.expire_closed_room()
    driver.register("today")
    driver.requeue()
    again = driver.stop("passed")
    assert again != closed
    driver.fan_out(again)
    for name in ("today", "passed"):
        driver.finish(name, Result.STOPPED)
    # Both shutdowns have it; which of the two calls comes first does not matter.
    driver.finish("bad", Result.STOPPED)
    driver.finish("bad", Result.ALREADY_STOPPED)
    for shutdown, total in ((closed, 2), (again, 3)):
        progress = shutdown.progress()
        assert (progress.status, progress.total) == (ShutdownStatus.DONE, total)
        assert_exact(progress)
    assert driver.registered() == []
    assert driver.register("late") == again, "the newer one has just closed the room"


def test_a_room_in_use_can_be_reopened_while_an_old_letter_is_requeued(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    driver.expire_closed_room()
    driver.requeue()
    assert driver.client.reopen_room(ROOM)


def test_while_the_room_is_still_closed_a_requeued_letter_keeps_it_so(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    driver.requeue()
    assert driver.stop() == closed
    assert driver.register("late") == closed
    driver.fan_out(closed)
    for name in ("late", "bad"):
        driver.finish(name, Result.STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.STOPPED: 3})
    assert_exact(progress)
    assert driver.registered() == []


# Late starters


def test_a_task_that_is_started_again_before_its_requeued_stop_is_called_is_stopped_by_it(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    driver.requeue()
    assert driver.register("bad") == closed
    driver.fan_out(closed)
    driver.finish("bad", Result.STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 2)
    assert_exact(progress)
    assert driver.registered() == []


def test_a_task_that_is_started_again_after_its_requeued_stop_was_called_is_stopped_again(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    driver.requeue()
    (job,) = driver.take().jobs
    assert driver.register("bad") == closed
    driver.report(job, Result.STOPPED)
    assert driver.registered() == ["bad"], "the one that was started last still runs"
    driver.fan_out(closed)
    driver.finish("bad", Result.STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 3)
    assert_exact(progress)
    assert driver.registered() == []


def test_a_requeued_letter_of_a_task_that_was_stopped_again_since_keeps_the_counts_exact(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    assert driver.register("bad") == closed
    driver.requeue()
    driver.fan_out(closed)
    driver.finish("bad", Result.STOPPED)
    driver.finish("bad", Result.ALREADY_STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 3)
    assert_exact(progress)
    assert driver.registered() == []


# Cancelled, forgotten, another's


def test_a_shutdown_that_is_cancelled_while_a_letter_is_requeued_takes_it_back(
    driver: RoomDeadLetterDriver, closed: Shutdown
) -> None:
    job_id = driver.requeue()
    assert closed.cancel()
    driver.take_back(closed)
    progress = closed.progress()
    assert (progress.status, progress.results) == (
        ShutdownStatus.CANCELLED,
        {Result.STOPPED: 1, Result.CANCELLED: 1},
    )
    assert_exact(progress)
    outcome = driver.client.job(job_id).peek()
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.CANCELLED
    assert list(driver.dead.letters()) == []
    assert driver.registered() == ["bad"]


def forget(driver: RoomDeadLetterDriver, shutdown: Shutdown) -> None:
    driver.redis.delete(*driver.redis.keys(f"streamstop.shutdown.{shutdown.id}*"))


def cancel(driver: RoomDeadLetterDriver, shutdown: Shutdown) -> None:
    driver.redis.hset(f"streamstop.shutdown.{shutdown.id}", mapping={"cancelled": 1, "status": "cancelled"})


def give_it_another_outcome(driver: RoomDeadLetterDriver, shutdown: Shutdown) -> None:
    key = f"streamstop.shutdown.{shutdown.id}:outcomes"
    (member,) = [member for member in driver.redis.hkeys(key) if b"bad" in member]
    other = Outcome(result=Result.STOPPED, job_id="another's", account=LANE.account, operation=LANE.operation)
    driver.redis.hset(key, member, other.model_dump_json())


@pytest.mark.parametrize("change", [forget, cancel, give_it_another_outcome])
def test_a_letter_is_requeued_alone_if_its_shutdown_cannot_take_it_back(
    driver: RoomDeadLetterDriver, closed: Shutdown, change: Callable[[RoomDeadLetterDriver, Shutdown], None]
) -> None:
    change(driver, closed)
    before = {key: driver.redis.hgetall(key) for key in driver.redis.keys("streamstop.shutdown.*") if b":" not in key}
    job_id = driver.requeue()
    (message,) = [one for one in driver.queued() if one["headers"]["id"] == job_id]
    assert "shutdown" not in json.loads(message["body"])[0][0]
    assert driver.finish("bad", Result.STOPPED) == job_id
    after = {key: driver.redis.hgetall(key) for key in driver.redis.keys("streamstop.shutdown.*") if b":" not in key}
    assert after == before


def test_every_key_of_a_shutdown_that_was_opened_again_ends(driver: RoomDeadLetterDriver, closed: Shutdown) -> None:
    driver.requeue()
    assert [key for key in driver.redis.keys("streamstop.shutdown.*") if driver.redis.ttl(key) < 0] == []
    driver.finish("bad", Result.STOPPED)
    ends = [driver.redis.ttl(key) for key in driver.redis.keys("streamstop.shutdown.*")]
    assert all(0 < end <= 7 * 86400 for end in ends)
