"""Dead letters of shutdowns, a step at a time on a real Redis: what requeueing one does to counts and to the room."""

import json
from collections.abc import Callable

import pytest
from redis import Redis

from streamstop import Client, Result, Shutdown, ShutdownStatus
from streamstop._redis.rooms import CALLBACKS
from streamstop.outcomes import Outcome
from tests.support.client_connections import connections
from tests.support.room_dead_letters import Undertaker, assert_exact
from tests.support.room_driver import LANE, ROOM


@pytest.fixture
def hands(client: Client, real_redis: Redis) -> Undertaker:
    connections(client).known_accounts.publish({LANE.account: "tencent"})
    return Undertaker(real_redis, client)


@pytest.fixture
def closed(hands: Undertaker) -> Shutdown:
    """Return a shutdown of two registered tasks, of which one was refused."""
    hands.register("good", "bad")
    shutdown = hands.stop(callback={"task": "told"})
    hands.fan_out(shutdown)
    hands.finish("good", Result.STOPPED)
    hands.finish("bad", Result.REFUSED)
    assert shutdown.progress().status is ShutdownStatus.NEEDS_ATTENTION
    assert hands.registered() == ["bad"]
    return shutdown


def test_a_shutdown_is_open_again_until_the_requeued_task_has_ended_and_is_told_again(
    hands: Undertaker, closed: Shutdown
) -> None:
    job_id = hands.requeue()
    progress = closed.progress()
    assert (progress.status, progress.total, progress.results) == (ShutdownStatus.OPEN, 2, {Result.STOPPED: 1})
    assert_exact(progress)
    assert hands.finish("bad", Result.ALREADY_STOPPED) == job_id
    progress = closed.progress()
    assert progress.status is ShutdownStatus.DONE
    assert progress.results == {Result.STOPPED: 1, Result.ALREADY_STOPPED: 1}
    assert_exact(progress)
    assert {one.result for one in closed.outcomes()} == {Result.STOPPED, Result.ALREADY_STOPPED}
    assert hands.registered() == []
    assert len(hands.messages(CALLBACKS)) == 2


def test_a_requeued_task_that_dies_again_is_a_letter_again_as_often_as_one_likes(
    hands: Undertaker, closed: Shutdown
) -> None:
    ids = {letter.id for letter in hands.dead.letters()}
    for result in (Result.GAVE_UP, Result.NOT_FOUND, Result.REFUSED):
        hands.requeue()
        ids.add(hands.finish("bad", result))
        progress = closed.progress()
        assert (progress.status, progress.results) == (
            ShutdownStatus.NEEDS_ATTENTION,
            {Result.STOPPED: 1, result: 1},
        )
        assert_exact(progress)
        (letter,) = hands.dead.letters()
        assert (letter.result, letter.room) == (result, ROOM)
    assert len(ids) == 4
    assert len(hands.messages(CALLBACKS)) == 4


# A room that is used again must not be closed by what a person does about its past.


def test_a_task_that_is_registered_in_a_room_in_use_is_not_stopped_for_an_old_letter(
    hands: Undertaker, closed: Shutdown
) -> None:
    hands.room_is_free_again()
    hands.requeue()
    assert hands.register("today") is None
    hands.finish("bad", Result.STOPPED)
    assert closed.progress().status is ShutdownStatus.DONE
    assert hands.register("today's second") is None, "nor does the end close the room once more"
    assert hands.registered() == ["today", "today's second"]


def test_a_room_that_is_stopped_anew_while_an_old_letter_is_requeued_has_a_shutdown_of_its_own(
    hands: Undertaker, closed: Shutdown
) -> None:
    hands.room_is_free_again()
    hands.register("today")
    hands.requeue()
    again = hands.stop("passed")
    assert again != closed
    hands.fan_out(again)
    for name in ("today", "passed"):
        hands.finish(name, Result.STOPPED)
    # Both shutdowns have it; which of the two calls comes first does not matter.
    hands.finish("bad", Result.STOPPED)
    hands.finish("bad", Result.ALREADY_STOPPED)
    for shutdown, total in ((closed, 2), (again, 3)):
        progress = shutdown.progress()
        assert (progress.status, progress.total) == (ShutdownStatus.DONE, total)
        assert_exact(progress)
    assert hands.registered() == []
    assert hands.register("late") == again, "the newer one has just closed the room"


def test_a_room_in_use_can_be_reopened_while_an_old_letter_is_requeued(hands: Undertaker, closed: Shutdown) -> None:
    hands.room_is_free_again()
    hands.requeue()
    assert hands.client.reopen_room(ROOM)


def test_while_the_room_is_still_closed_a_requeued_letter_keeps_it_so(hands: Undertaker, closed: Shutdown) -> None:
    hands.requeue()
    assert hands.stop() == closed
    assert hands.register("late") == closed
    hands.fan_out(closed)
    for name in ("late", "bad"):
        hands.finish(name, Result.STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.STOPPED: 3})
    assert_exact(progress)
    assert hands.registered() == []


# Late starters


def test_a_task_that_is_started_again_before_its_requeued_stop_is_called_is_stopped_by_it(
    hands: Undertaker, closed: Shutdown
) -> None:
    hands.requeue()
    assert hands.register("bad") == closed
    hands.fan_out(closed)
    hands.finish("bad", Result.STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 2)
    assert_exact(progress)
    assert hands.registered() == []


def test_a_task_that_is_started_again_after_its_requeued_stop_was_called_is_stopped_again(
    hands: Undertaker, closed: Shutdown
) -> None:
    hands.requeue()
    (job,) = hands.take().jobs
    assert hands.register("bad") == closed
    hands.report(job, Result.STOPPED)
    assert hands.registered() == ["bad"], "the one that was started last still runs"
    hands.fan_out(closed)
    hands.finish("bad", Result.STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 3)
    assert_exact(progress)
    assert hands.registered() == []


def test_an_old_letter_of_a_task_that_was_started_and_stopped_again_since_takes_nothing_out(
    hands: Undertaker, closed: Shutdown
) -> None:
    assert hands.register("bad") == closed
    hands.requeue()
    hands.fan_out(closed)
    hands.finish("bad", Result.STOPPED)
    hands.finish("bad", Result.ALREADY_STOPPED)
    progress = closed.progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 3)
    assert_exact(progress)
    assert hands.registered() == []


# Cancelled, forgotten, another's


def test_a_shutdown_that_is_cancelled_while_a_letter_is_requeued_takes_it_back(
    hands: Undertaker, closed: Shutdown
) -> None:
    job_id = hands.requeue()
    assert closed.cancel()
    hands.take_back(closed)
    progress = closed.progress()
    assert (progress.status, progress.results) == (
        ShutdownStatus.CANCELLED,
        {Result.STOPPED: 1, Result.CANCELLED: 1},
    )
    assert_exact(progress)
    outcome = hands.client.job(job_id).peek()
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.CANCELLED
    assert list(hands.dead.letters()) == []
    assert hands.registered() == ["bad"]


def forget(hands: Undertaker, shutdown: Shutdown) -> None:
    hands.redis.delete(*hands.redis.keys(f"streamstop.shutdown.{shutdown.id}*"))


def cancel(hands: Undertaker, shutdown: Shutdown) -> None:
    hands.redis.hset(f"streamstop.shutdown.{shutdown.id}", mapping={"cancelled": 1, "status": "cancelled"})


def give_it_another_outcome(hands: Undertaker, shutdown: Shutdown) -> None:
    key = f"streamstop.shutdown.{shutdown.id}:outcomes"
    (member,) = [member for member in hands.redis.hkeys(key) if b"bad" in member]
    other = Outcome(result=Result.STOPPED, job_id="another's", account=LANE.account, operation=LANE.operation)
    hands.redis.hset(key, member, other.model_dump_json())


@pytest.mark.parametrize("change", [forget, cancel, give_it_another_outcome])
def test_where_the_shutdown_has_no_place_for_it_the_command_alone_is_sent(
    hands: Undertaker, closed: Shutdown, change: Callable[[Undertaker, Shutdown], None]
) -> None:
    change(hands, closed)
    before = {key: hands.redis.hgetall(key) for key in hands.redis.keys("streamstop.shutdown.*") if b":" not in key}
    job_id = hands.requeue()
    (message,) = [one for one in hands.queued() if one["headers"]["id"] == job_id]
    assert "shutdown" not in json.loads(message["body"])[0][0]
    assert hands.finish("bad", Result.STOPPED) == job_id
    after = {key: hands.redis.hgetall(key) for key in hands.redis.keys("streamstop.shutdown.*") if b":" not in key}
    assert after == before


def test_every_key_of_a_shutdown_that_was_opened_again_ends(hands: Undertaker, closed: Shutdown) -> None:
    hands.requeue()
    assert [key for key in hands.redis.keys("streamstop.shutdown.*") if hands.redis.ttl(key) < 0] == []
    hands.finish("bad", Result.STOPPED)
    ends = [hands.redis.ttl(key) for key in hands.redis.keys("streamstop.shutdown.*")]
    assert all(0 < end <= 7 * 86400 for end in ends)
