"""Batches too big for one command, on a real Redis: accepted whole or not at all, even if the producer is killed."""

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from streamstop import Client, Command, QueueUnavailable, Result, ShutdownStatus
from streamstop._core.constants import BATCH, BATCHES, WAKE
from streamstop._redis import rooms as rooms_module
from streamstop._redis.batches import Batches
from streamstop.operations import StopMPUTask
from tests.support.client_connections import connections_of
from tests.support.killed_producers import kill_at_send
from tests.support.room_driver import LANE, ROOM, RoomDriver, stops

SIZE = 501
#: How many sends to Redis a call of that size makes at most, and more.
MANY = 40


@pytest.fixture
def driver(client: Client, real_redis: Redis) -> RoomDriver:
    connections_of(client).known_accounts.publish({LANE.account: "tencent", "live": "aliyun"})
    return RoomDriver(real_redis, client)


def killed_at_each_send(driver: RoomDriver, call: Callable[[Client], object], check: Callable[[], bool]) -> set[bool]:
    """Kill a producer's `call` at every send, each on a Redis as it is now; return what `check` said of them."""
    before = {key: (driver.redis.dump(key), driver.redis.pttl(key)) for key in driver.redis.scan_iter()}
    seen: set[bool] = set()
    for after in (False, True):
        for sends in range(MANY):
            driver.redis.flushdb()
            for key, (content, ttl) in before.items():
                driver.redis.restore(key, max(ttl, 0), content)
            died = kill_at_send(url(driver), call, sends=sends, after=after)
            seen.add(check())
            if not died:
                break
        else:
            raise AssertionError("the call makes more sends")
    return seen


def url(driver: RoomDriver) -> str:
    return f"redis://127.0.0.1:{driver.redis.connection_pool.connection_kwargs['port']}/0"


@pytest.mark.parametrize("others", [0, 1])
def test_a_big_batch_of_a_producer_that_is_killed_at_any_step_is_in_its_lanes_whole_or_not_at_all(
    driver: RoomDriver, others: int
) -> None:
    commands = stops(*range(SIZE))
    commands += [Command(operation=StopMPUTask(app_id="a", task_id="t"), account="live", priority=9)] * others

    def check() -> bool:
        Batches(driver.redis).finish()
        names = [message["params"]["TaskId"] for message in driver.messages()]
        assert names in ([], [str(number) for number in range(SIZE)])
        assert sum(driver.redis.llen(name) for name in driver.redis.keys("streamstop.lane.*")) in {0, SIZE + others}
        assert not driver.redis.exists(BATCHES)
        if names:
            assert driver.redis.keys(f"{BATCH}*") == []
            assert driver.redis.llen(WAKE) == 1
        return bool(names)

    assert killed_at_each_send(driver, lambda client: client.enqueue_many(commands), check) == {True, False}


def test_a_batch_of_registrations_is_all_or_nothing_when_its_producer_is_killed_at_any_step(
    driver: RoomDriver,
) -> None:
    driver.register("before")

    def check() -> bool:
        tasks = driver.client.room(ROOM).tasks
        assert len(tasks) in {1, 1 + SIZE}
        assert not driver.redis.hexists(f"streamstop.room.{ROOM}:state", "batch")
        return len(tasks) > 1

    assert killed_at_each_send(driver, lambda client: client.register_many(ROOM, stops(*range(SIZE))), check) == {
        True,
        False,
    }


@pytest.mark.long
def test_a_closing_rooms_shutdown_has_all_of_it_or_none_and_the_fan_out_applies_it(driver: RoomDriver) -> None:
    driver.register("before")
    shutdown = driver.stop()
    driver.fan_out(shutdown)

    def check() -> bool:
        driver.fan_out(shutdown)
        progress = shutdown.progress()
        members = driver.members()
        assert len(members) == len(set(members)) == progress.total
        assert progress.total in {1, 1 + SIZE}
        for member in members:
            driver.end(shutdown, member)
        assert shutdown.progress().status is ShutdownStatus.DONE
        assert driver.client.room(ROOM).tasks == ()
        return progress.total > 1

    assert killed_at_each_send(driver, lambda client: client.register_many(ROOM, stops(*range(SIZE))), check) == {
        True,
        False,
    }


def test_a_shutdown_that_is_opened_with_many_has_all_of_them_or_is_not_open(driver: RoomDriver) -> None:
    driver.register(*range(SIZE - 100))

    def check() -> bool:
        name = driver.client.room(ROOM).shutdown
        if name is None:
            return False
        shutdown = driver.client.shutdown(name)
        driver.fan_out(shutdown)
        assert shutdown.progress().total == len(driver.members()) == SIZE
        return True

    assert killed_at_each_send(driver, lambda client: client.stop_room(ROOM, stops(*range(SIZE))), check) == {
        True,
        False,
    }


# The steps, by hand


@pytest.fixture
def accepted(driver: RoomDriver, monkeypatch: pytest.MonkeyPatch) -> RoomDriver:
    """Let producers die as soon as what they staged is accepted."""
    monkeypatch.setattr(rooms_module, "AT_ONCE", 50)
    monkeypatch.setattr(rooms_module, "PIECE", 50)
    return driver


def accept(driver: RoomDriver, call: Callable[[Client], object]) -> None:
    """Let a producer die right after its batch was accepted."""
    for sends in range(MANY):
        driver.redis.delete(
            "none", *driver.redis.keys(f"{BATCH}*")
        )  # batches that the previous producer did not complete
        kill_at_send(url(driver), call, sends=sends, after=True)
        if driver.redis.hexists(f"streamstop.room.{ROOM}:state", "batch"):
            return
    raise AssertionError("nothing was accepted")


def test_a_shutdown_does_not_end_while_a_batch_that_joined_it_is_not_applied_whole(accepted: RoomDriver) -> None:
    driver = accepted
    accept(driver, lambda client: client.stop_room(ROOM, stops(*range(120))))
    name = driver.redis.hget(f"streamstop.room.{ROOM}:state", "shutdown").decode()
    shutdown = driver.client.shutdown(name)
    pieces = driver.rooms.applying(ROOM)
    assert next(pieces) == 50
    driver.rooms.scanned(name)
    tasks = [member.decode() for member in driver.redis.hkeys(f"streamstop.shutdown.{name}:tasks")]
    assert len(tasks) == 50
    for task in tasks:
        driver.end(shutdown, task)
    progress = shutdown.progress()
    assert (progress.status, progress.total, progress.ended) == (ShutdownStatus.OPEN, 50, 50)
    assert sum(1 for _ in pieces) == 1
    assert shutdown.progress().total == 120
    for member in driver.redis.hkeys(f"streamstop.shutdown.{name}:tasks"):
        driver.end(shutdown, member.decode())
    assert shutdown.progress().status is ShutdownStatus.DONE


def test_a_shutdown_that_is_cancelled_before_its_batch_is_applied_counts_all_of_it(accepted: RoomDriver) -> None:
    accept(accepted, lambda client: client.stop_room(ROOM, stops(*range(120))))
    name = accepted.redis.hget(f"streamstop.room.{ROOM}:state", "shutdown").decode()
    shutdown = accepted.client.shutdown(name)
    assert shutdown.cancel()
    accepted.take_back(shutdown)
    progress = shutdown.progress()
    assert (progress.status, progress.results) == (ShutdownStatus.CANCELLED, {Result.CANCELLED: 120})


OPERATIONS: dict[str, Callable[[Client], Any]] = {
    "register": lambda client: client.register_many(ROOM, stops("late")),
    "register many": lambda client: client.register_many(ROOM, stops(*(f"late-{n}" for n in range(60)))),
    "unregister": lambda client: client.unregister(ROOM, stops(119)[0].operation, account=LANE.account),
    "room": lambda client: client.room(ROOM),
    "stop": lambda client: client.stop_room(ROOM),
    "reopen": lambda client: client.reopen_room(ROOM),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_on_a_room_first_applies_the_accepted_batches(accepted: RoomDriver, operation: str) -> None:
    accept(accepted, lambda client: client.register_many(ROOM, stops(*range(120))))
    assert accepted.redis.hlen(f"streamstop.room.{ROOM}:tasks") == 0
    reply = OPERATIONS[operation](accepted.client)
    if operation == "unregister":
        assert reply, "it was registered"
    registered = {"register": 121, "register many": 180, "unregister": 119}.get(operation, 120)
    assert accepted.redis.hlen(f"streamstop.room.{ROOM}:tasks") == registered
    if operation == "room":
        assert len(reply.tasks) == 120
    assert accepted.redis.keys(f"{BATCH}*") == []


def test_a_task_that_was_registered_again_in_a_batch_while_its_stop_was_called_is_stopped_again(
    accepted: RoomDriver,
) -> None:
    shutdown = accepted.stop(*range(120))
    accepted.fan_out(shutdown)
    for member in accepted.members()[:60]:
        accepted.end(shutdown, member)
    assert accepted.register(*range(120)) == shutdown
    accepted.fan_out(shutdown)
    assert shutdown.progress().total == len(accepted.members()) == 180


def test_a_batch_that_expired_before_it_was_accepted_is_an_error_that_says_that_nothing_was_done(
    driver: RoomDriver,
) -> None:
    class Expires(Redis):
        """Lets a batch of a room expire when the script comes that would accept it."""

        def evalsha(self, *arguments: Any) -> Any:
            driver.redis.delete(*driver.redis.keys(f"{BATCH}*") or ["none"])
            return super().evalsha(*arguments)

    rooms = connections_of(driver.client).rooms
    with Expires(port=driver.redis.connection_pool.connection_kwargs["port"]) as rooms._redis:
        with pytest.raises(QueueUnavailable, match="the staged commands are gone: nothing was changed"):
            driver.register(*range(SIZE))
        assert driver.client.room(ROOM).tasks == ()


def test_every_key_of_a_room_whose_producer_died_ends(accepted: RoomDriver) -> None:
    for sends in range(MANY):
        kill_at_send(
            url(accepted),
            lambda client: client.register_many(ROOM, stops(*range(120))),
            sends=sends,
            after=True,
        )
        keys = accepted.redis.keys("streamstop.room.*") + accepted.redis.keys(f"{BATCH}*")
        assert [key for key in keys if accepted.redis.ttl(key) < 0] == []
