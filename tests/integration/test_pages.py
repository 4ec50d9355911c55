"""Pages of rooms and outcomes on a real Redis: complete while the room changes, and refused after a restart."""

from collections.abc import Iterator

import pytest
from redis import Redis

from streamstop import Client, InvalidCommand, RoomPage
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.room_driver import LANE, ROOM, RoomDriver, stops


@pytest.fixture
def room(real_redis: Redis, client: Client) -> RoomDriver:
    return RoomDriver(real_redis, client)


def pages(client: Client, most: int) -> Iterator[RoomPage]:
    page = client.room_page(ROOM, most=most)
    yield page
    while page.next is not None:
        page = client.room_page(ROOM, page.next, most=most)
        yield page


def test_what_is_registered_all_the_time_is_on_a_page(room: RoomDriver, client: Client) -> None:
    lasting = [f"lasting-{number}" for number in range(500)]
    passing = [f"passing-{number}" for number in range(2000)]
    room.register(*lasting, *passing)
    seen: set[str] = set()
    for number, page in enumerate(pages(client, 50)):
        seen |= {task.operation.params["TaskId"] for task in page.tasks}  # type: ignore[misc]
        client.unregister_many(ROOM, stops(*passing[number * 200 : number * 200 + 200]))
    assert set(lasting) <= seen


def test_a_batch_that_is_pending_is_on_the_first_page(room: RoomDriver, client: Client) -> None:
    room.register(*range(300))
    page = client.room_page(ROOM, most=1000)
    assert (len(page.tasks), page.total, page.next, page.shutdown) == (300, 300, None, None)
    assert client.room_accounts(ROOM) == {LANE.account}


def test_the_accounts_of_a_shutdown_are_known_before_its_jobs_are_in_lanes(room: RoomDriver, client: Client) -> None:
    shutdown = room.stop("a")
    assert shutdown.progress().lanes == []
    assert shutdown.accounts() == {LANE.account}


def test_a_cursor_from_before_a_restart_is_refused() -> None:
    with redis_server() as first, Client(first.url) as client:
        client.register_many(ROOM, stops(*range(300)))
        cursor = client.room_page(ROOM, most=10).next
    with redis_server() as second, Client(second.url) as client:
        client.register_many(ROOM, stops(*range(300)))
        with pytest.raises(InvalidCommand, match="before a restart") as refused:
            client.room_page(ROOM, cursor, most=10)
    assert refused.value.field == "cursor"
