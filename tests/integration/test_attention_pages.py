"""The outcomes of a shutdown that need a person, found among all others on a real Redis."""

import asyncio
from collections.abc import Iterator

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Outcome, OutcomePage, Result
from streamstop._core.constants import SHUTDOWN
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient

COUNT = 50_000


def pages(client: Client, shutdown: str) -> Iterator[OutcomePage]:
    """Yield the pages of those that need a person."""
    page = client.shutdown(shutdown).outcome_page(attention=True)
    yield page
    while page.next is not None:
        page = client.shutdown(shutdown).outcome_page(page.next, attention=True)
        yield page


@pytest.fixture
def shutdown(real_redis: Redis) -> str:
    """Return a shutdown with five outcomes that need a person; all others quote such a result."""
    stopped = Outcome(
        result=Result.STOPPED,
        job_id="job",
        operation="live.StopMPUTask",
        account="live-cn",
        params={"TaskId": '"result":"refused"'},
        reply={"result": "refused"},
    )
    good = stopped.model_dump_json(exclude_none=True)
    key = f"{SHUTDOWN}s1:outcomes"
    pipeline = real_redis.pipeline(transaction=False)
    for number in range(COUNT):
        outcome = good
        if number % 10_000 == 7:
            refused = stopped.model_copy(update={"result": Result.REFUSED, "job_id": str(number)})
            outcome = refused.model_dump_json(exclude_none=True)
        pipeline.hset(key, str(number), outcome)
    pipeline.expire(key, 3600)
    pipeline.execute()
    return "s1"


def test_they_are_found_in_short_steps(client: Client, shutdown: str) -> None:
    found = list(pages(client, shutdown))
    assert sorted(one.job_id for page in found for one in page.outcomes) == ["10007", "20007", "30007", "40007", "7"]
    assert len(found) >= 3, "a page looks at a part of a large shutdown"


def test_the_asynchronous_client_finds_the_same(client: Client, redis_url: str, shutdown: str) -> None:
    async def read() -> OutcomePage:
        async with AsyncClient(redis_url) as asynchronous:
            return await asynchronous.shutdown(shutdown).outcome_page(attention=True)

    assert asyncio.run(read()) == client.shutdown(shutdown).outcome_page(attention=True)


def test_a_recording_client_finds_them_too() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"})
    bad = StopMPUTask(app_id="a", task_id="bad")
    client.answer(lambda command: command.operation == bad, result=Result.NOT_FOUND)
    client.register("room", bad, account="live-cn")
    client.register("room", StopMPUTask(app_id="a", task_id="good"), account="live-cn")
    shutdown = client.stop_room("room", by="ana")
    assert [one.result for one in shutdown.outcome_page(attention=True).outcomes] == [Result.NOT_FOUND]
    assert len(shutdown.outcome_page().outcomes) == 2
    (event,) = [event for event in client.events() if event.kind == "room_stopped"]
    assert (event.by, event.text) == ("ana", f"room 'room' is stopped by shutdown {shutdown.id}")
