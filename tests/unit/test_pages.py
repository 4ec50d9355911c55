"""Pages of the recording client: rooms, outcomes and events in short steps, as the real client has them."""

import asyncio

import pytest

from streamstop import Command, EventKind, InvalidCommand
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingAsyncClient, RecordingClient


def stop(task: int, account: str = "live-cn") -> Command:
    return Command(operation=StopMPUTask(app_id="app", task_id=f"t-{task}"), account=account)


STOPS = [stop(number) for number in range(25)]


def test_a_room_and_its_outcomes_come_page_by_page() -> None:
    client = RecordingClient()
    client.register_many("room", STOPS)
    pages = [client.room_page("room", most=10)]
    while pages[-1].next is not None:
        pages.append(client.room_page("room", pages[-1].next, most=10))
    assert [len(page.tasks) for page in pages] == [10, 10, 5]
    assert [task for page in pages for task in page.tasks] == STOPS
    assert {(page.name, page.total, page.shutdown) for page in pages} == {("room", 25, None)}
    shutdown = client.stop_room("room")
    first = shutdown.outcome_page(most=20)
    rest = shutdown.outcome_page(first.next, most=20)
    assert (len(first.outcomes), len(rest.outcomes), rest.next) == (20, 5, None)
    assert client.room_page("room").shutdown == shutdown.id
    assert client.room_page("never used") == type(pages[0])("never used", (), None, 0, None)


def test_the_accounts_of_a_room_and_of_its_shutdown_are_told() -> None:
    client = RecordingClient(leave_open=True)
    client.register_many("room", [stop(1), stop(2, "other")])
    assert client.room_accounts("room") == {"live-cn", "other"}
    shutdown = client.stop_room("room", [stop(3, "third")])
    client.register("room", stop(4).operation, account="fourth")
    assert shutdown.accounts() == {"live-cn", "other", "third", "fourth"}
    assert client.shutdown("unknown").accounts() == frozenset()


def test_many_tasks_are_removed_at_once() -> None:
    client = RecordingClient()
    client.register_many("room", STOPS[:3])
    assert client.unregister_many("room", [*STOPS[:2], stop(99)]) == 2
    assert client.room("room").tasks == (STOPS[2],)


def test_the_latest_events_or_the_first_ones_after_another() -> None:
    client = RecordingClient()
    for number in range(1, 6):
        client._backend.journal.add(EventKind.DRAINED, "", by=str(number))
    everything = client.events()
    assert [event.by for event in client.events(most=2)] == ["4", "5"]
    assert [event.by for event in client.events(after=everything[0].id, most=2)] == ["2", "3"]


@pytest.mark.parametrize("most", [0, -1, 10_001, True, "10"])
def test_the_size_of_a_page_is_checked(most: int) -> None:
    client = RecordingClient()
    for look in (
        lambda: client.room_page("room", most=most),
        lambda: client.shutdown("id").outcome_page(most=most),
        lambda: client.events(most=most),
    ):
        with pytest.raises(InvalidCommand, match="from 1 to 10000"):
            look()


@pytest.mark.parametrize("cursor", ["", "x", "-1", "9" * 30])
def test_a_cursor_that_no_page_had_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        RecordingClient().room_page("room", cursor)
    assert refused.value.field == "cursor"


def test_the_asynchronous_client_shows_the_same() -> None:
    recording = RecordingClient()
    recording.register_many("room", STOPS)

    async def look() -> None:
        client = RecordingAsyncClient(recording)
        assert await client.room_page("room", most=5) == recording.room_page("room", most=5)
        assert await client.room_accounts("room") == {"live-cn"}
        assert await client.unregister_many("room", STOPS[:1]) == 1
        shutdown = await client.stop_room("room")
        page = await shutdown.outcome_page(most=5)
        assert (len(page.outcomes), page.next) == (5, "5")
        assert await shutdown.accounts() == {"live-cn"}
        assert await client.events(most=1) == []

    asyncio.run(look())
