"""What ``job.look()`` finds of a job: while it waits, while a worker has it, after its end, as a dead letter."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Command, JobView, Result, Where
from streamstop._core.lane import Lane, result_key
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient

STOP = StopMPUTask(app_id="app", task_id="relay-1")
LANE = Lane("live-cn", STOP.spec.id)


def only_message(redis: Redis) -> bytes:
    """Return the only message in the lane."""
    messages: Any = redis.lrange(LANE.queue, 0, -1)
    assert len(messages) == 1
    return bytes(messages[0])


def test_a_job_that_waits_has_its_place(client: Client) -> None:
    client.enqueue(STOP, account="live-cn")
    job = client.enqueue(STOP, account="live-cn", expires_in=timedelta(hours=1))
    view = job.look()
    assert view is not None
    assert (view.where, view.place, view.params, view.calls) == (Where.WAITING, 2, STOP.params, 0)
    assert view.enqueued_at is not None
    assert view.expires_at == view.enqueued_at + timedelta(hours=1)
    assert (view.account, view.operation, view.outcome, view.trace_id) == ("live-cn", STOP.spec.id, None, None)


def test_a_job_that_is_cancelled_has_its_outcome(client: Client) -> None:
    job = client.enqueue(STOP, account="live-cn")
    outcome = job.cancel()
    view = job.look()
    assert view is not None
    assert (view.where, view.outcome) == (Where.ENDED, outcome)


def test_a_job_that_nobody_enqueued_is_none(client: Client) -> None:
    assert client.job(LANE.new_job_id()).look() is None
    assert client.job("of another program").look() is None


def test_a_job_that_a_foreign_program_enqueued_is_found(client: Client, real_redis: Redis) -> None:
    client.enqueue(STOP, account="live-cn")
    message = only_message(real_redis)
    real_redis.lpush(LANE.queue, message.replace(message.split(b'"id":"')[1].split(b'"')[0], b"my-own-id"))
    view = client.job("my-own-id").look()
    assert view is not None
    assert (view.where, view.account, view.operation) == (Where.WAITING, "live-cn", STOP.spec.id)


def test_a_job_goes_on_with_the_trace_in_its_message(client: Client, real_redis: Redis) -> None:
    job = client.enqueue(STOP, account="live-cn")
    message = only_message(real_redis)
    trace = "0af7651916cd43dd8448eb211c80319c"
    traced = message.replace(b'"headers":{', b'"headers":{"traceparent":"00-%s-b7ad6b7169203331-01",' % trace.encode())
    real_redis.delete(LANE.queue)
    real_redis.lpush(LANE.queue, b"\x012 5 0 0 0 0 0\n" + traced)  # with the history of a job that was throttled
    view = job.look()
    assert view is not None
    assert (view.trace_id, view.attempts, view.calls, view.place) == (trace, 2, 5, 1)


def test_a_record_that_is_no_outcome_is_an_end(client: Client, real_redis: Redis) -> None:
    job_id = LANE.new_job_id()
    real_redis.set(result_key(job_id), '{"status": "SUCCESS", "result": "done"}', ex=60)
    view = client.job(job_id).look()
    assert view == JobView(id=job_id, where=Where.ENDED, account="live-cn", operation=STOP.spec.id)


def test_the_asynchronous_client_sees_the_same(client: Client, redis_url: str) -> None:
    job = client.enqueue(STOP, account="live-cn")

    async def look() -> JobView | None:
        async with AsyncClient(redis_url) as asynchronous:
            return await asynchronous.job(job.id).look()

    assert asyncio.run(look()) == job.look()


@pytest.mark.parametrize(
    ("answer", "where"), [({"result": Result.REFUSED}, Where.DEAD), ({"result": Result.STOPPED}, Where.ENDED)]
)
def test_a_recording_client_sees_what_it_recorded(answer: dict[str, Any], where: Where) -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"})
    client.answer(StopMPUTask, **answer)
    view = client.enqueue(STOP, account="live-cn").look()
    assert view is not None
    assert view.outcome is not None
    assert (view.where, view.outcome.result) == (where, answer["result"])
    shutdown = client.stop_room("room", [Command(operation=STOP, account="live-cn")])
    (outcome,) = shutdown.outcomes()
    member = client.job(outcome.job_id).look()
    assert member is not None
    assert (member.where, member.room, member.shutdown) == (where, "room", shutdown.id)
    waiting = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True).enqueue(STOP, account="live-cn").look()
    assert waiting is not None
    assert (waiting.where, waiting.outcome) == (Where.WAITING, None)
