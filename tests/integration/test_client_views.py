"""The client's views of a real Redis: accounts, lanes and dead letters; and what it hides."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from streamstop import AsyncClient, Client, Command, Lane, QueueUnavailable
from streamstop.operations import StopMPUTask, StopStreamIngest
from tests.support.client_connections import connections_of

STOP = Command(operation=StopMPUTask(app_id="a", task_id="t"), account="live-cn")
INGEST = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t"), account="trtc-sg")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNTS = {"live-cn": "aliyun", "trtc-sg": "tencent"}


def test_accounts_are_those_of_running_workers(client: Client) -> None:
    assert client.accounts() == {}
    connections_of(client).known_accounts.publish(ACCOUNTS)
    assert client.accounts() == ACCOUNTS


def test_lanes_are_those_that_hold_jobs_or_those_that_are_asked_for(client: Client) -> None:
    assert client.lanes() == []
    jobs = client.enqueue_many([INGEST, STOP, STOP])
    assert [(view.lane, view.waiting) for view in client.lanes()] == [(STOP.lane, 2), (INGEST.lane, 1)]
    jobs[0].cancel()
    empty = Lane("live-cn", "live.StopLivePullToPush")
    assert [(view.lane, view.waiting) for view in client.lanes([empty, STOP.lane])] == [(empty, 0), (STOP.lane, 2)]
    assert client.lanes([]) == []


def test_the_asynchronous_client_shows_the_same(client: Client, redis_url: str) -> None:
    connections_of(client).known_accounts.publish(ACCOUNTS)
    client.enqueue_many([STOP, INGEST])

    async def look() -> None:
        async with AsyncClient(redis_url) as operator:
            assert await operator.accounts() == ACCOUNTS
            shown = [view.model_copy(update={"at": NOW}) for view in await operator.lanes()]
            assert shown == [view.model_copy(update={"at": NOW}) for view in client.lanes()]
            assert [view.waiting for view in await operator.lanes([STOP.lane])] == [1]
            assert await operator.dead_letters.count() == client.dead_letters.count() == 0

    asyncio.run(look())


def test_without_redis_they_are_unavailable() -> None:
    with Client("redis://127.0.0.1:1", timeout=timedelta(seconds=1)) as client:
        for look in (client.accounts, client.lanes, client.dead_letters.count):
            with pytest.raises(QueueUnavailable):
                look()


def test_a_client_shows_nothing_of_its_connections(client: Client) -> None:
    public = {name for name in dir(client) if not name.startswith("_")}
    assert {"accounts", "dead_letters", "lanes", "timeout"} <= public
    assert not public & {"backend", "connections", "reaching", "redis"}
