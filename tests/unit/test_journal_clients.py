"""Events and error counts as clients read them: the recording client's, and what every client refuses."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest

from streamstop import Client, EventKind, InvalidCommand, Result
from streamstop._core import backend
from streamstop._core.backend import WaitInterval
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingAsyncClient, RecordingClient

STOP = StopMPUTask(app_id="a", task_id="t")


def failing_client() -> RecordingClient:
    """Return a client with an account whose stops are refused, and two events."""
    client = RecordingClient()
    client.answer(
        lambda command: command.account == "live-cn", result=Result.REFUSED, code="Forbidden.RAM", message="not allowed"
    )
    client._queue.journal.add(EventKind.WORKER_STARTED, "", by="celery@host")
    client._queue.journal.add(EventKind.PAUSED, "for a while", account="live-cn", by="ops@host")
    return client


def test_the_recording_client_shows_events() -> None:
    client = failing_client()
    started, paused = client.events()
    assert (started.kind, paused.kind, paused.by) == (EventKind.WORKER_STARTED, EventKind.PAUSED, "ops@host")
    assert client.events(account="live-cn") == client.events(after=started.id) == [paused]
    assert client.events(since=60) == [started, paused]
    assert list(client.follow_events(after=started.id)) == [paused]
    assert list(client.follow_events()) == []


def test_the_recording_client_counts_the_errors_with_which_jobs_end() -> None:
    client = failing_client()
    client.enqueue(STOP, account="live-cn")
    client.enqueue(STOP, account="other")
    client.stop_room("room", [])
    assert [(count.account, count.code, count.count) for count in client.errors()] == [("live-cn", "Forbidden.RAM", 1)]
    client.enqueue(STOP, account="live-cn")
    (count,) = client.errors(since=timedelta(hours=1), account="live-cn")
    assert (count.count, count.message, count.operation) == (2, "not allowed", "live.StopMPUTask")
    assert client.errors(account="other") == []


def test_the_asynchronous_client_reads_the_same() -> None:
    recording = failing_client()
    recording.enqueue(STOP, account="live-cn")

    async def main() -> None:
        client = RecordingAsyncClient(recording)
        events = await client.events()
        assert events == recording.events()
        assert await client.errors() == recording.errors()
        assert [event async for event in client.follow_events(after=events[0].id)] == events[1:]

    asyncio.run(main())


def test_an_interrupted_wait_closes_what_it_waited_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is closed only when the interpreter ends finds the thread of the news gone, maybe with a lock."""
    closed = []

    def steps() -> Iterator[WaitInterval]:
        try:
            yield WaitInterval(Future(), 60)
        finally:
            closed.append(True)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "wait_for_futures", interrupt)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        list(backend.blocking(steps()))
    assert closed
    assert interrupted.tb is not None, "the exception is alive still"


@pytest.mark.parametrize("since", [0, -1, "1h", float("nan"), timedelta(days=366), True])
def test_an_age_must_be_a_positive_duration(since: Any) -> None:
    with pytest.raises(InvalidCommand, match="since must be a positive number") as refused:
        Client("redis://127.0.0.1:1").events(since=since)
    assert refused.value.field == "since"


def test_errors_reach_back_a_day_at_most() -> None:
    with pytest.raises(InvalidCommand, match="at most 1 day, not 1 day, 0:00:01"):
        Client("redis://127.0.0.1:1").errors(since=timedelta(days=1, seconds=1))


@pytest.mark.parametrize("after", ["", "1", "1-2-3", "x-0", f"{2**64}-0", 5])
def test_an_event_is_named_by_its_id(after: Any) -> None:
    client = Client("redis://127.0.0.1:1")
    for read in (client.events, lambda **arguments: list(client.follow_events(**arguments))):
        with pytest.raises(InvalidCommand, match="must be an event's id") as refused:
            read(after=after)
        assert refused.value.field == "after"
