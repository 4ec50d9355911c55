"""What ``job.look()`` finds of a job: while it waits, while a worker has it, after its end, as a dead letter."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import AsyncClient, Became, CallAnswer, Client, Command, Deferral, JobView, Outcome, Result, Where
from streamstop._core.answers import answers_key
from streamstop._core.constants import SCHEDULE
from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import LastCall
from streamstop._wire.reports import Ended, KeptAnswer, Retried, Throttled
from streamstop._wire.results import deferral_record, outcome_record
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient
from tests.support.lane_driver import CALLED_ONCE, JUDGED_ONCE, KEPT, LaneDriver
from tests.support.manual_clock import ManualClock

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


def answer(number: int, code: str | None, became: Became) -> CallAnswer:
    return CallAnswer(number=number, at=datetime.now(UTC), seconds=0.1, code=code, request_id="R", became=became)


def test_a_job_has_the_answers_to_its_calls_at_each_step(client: Client, real_redis: Redis) -> None:
    job, lane = client.enqueue(STOP, account="live-cn"), LaneDriver(real_redis, ManualClock(), lane=LANE)
    throttled, retried = answer(1, "Throttling", Became.THROTTLED), answer(2, "InternalError", Became.RETRIED)

    def take() -> Any:
        """Take the job, whenever its lane would give it."""
        real_redis.hset(LANE.pace, mapping={"rest": 0, "tat": 0, "due": 1})
        real_redis.zadd(LANE.due, {job.id: 0}, xx=True)
        real_redis.zadd(SCHEDULE, {LANE.name: 0})
        (taken,) = lane.look().jobs
        return taken

    def looked() -> JobView:
        view = job.look()
        assert view is not None
        return view

    lane.report(
        Throttled(job=take(), hint=None, history=CALLED_ONCE, answered=KeptAnswer(throttled, timedelta(days=1)))
    )
    assert (looked().where, looked().answers) == (Where.WAITING, (throttled,))
    lane.report(
        Retried(
            job=take(),
            call=LastCall.FAULT,
            answered=KeptAnswer(retried, KEPT),
            delay=timedelta(seconds=1),
            history=JUDGED_ONCE,
            record=deferral_record(job.id, Deferral("why", datetime.now(UTC))),
            kept=KEPT,
        )
    )
    assert (looked().where, looked().answers) == (Where.DEFERRED, (throttled, retried))
    taken = take()
    assert (looked().where, looked().answers) == (Where.IN_FLIGHT, (throttled, retried))
    outcome = Outcome(
        result=Result.STOPPED,
        job_id=job.id,
        operation=LANE.operation,
        account=LANE.account,
        calls=3,
        request_id="R-3",
        ended_at=datetime.now(UTC),
    )
    lane.report(Ended(job=taken, call=LastCall.WELL, record=outcome_record(outcome), kept=KEPT))
    last = CallAnswer(number=3, at=outcome.ended_at, request_id="R-3", became=Became.ENDED)
    assert (looked().where, looked().answers) == (Where.ENDED, (throttled, retried, last))
    assert 0 < real_redis.ttl(answers_key(job.id)) <= KEPT.total_seconds()


def test_what_another_program_wrote_is_no_answer(client: Client, real_redis: Redis) -> None:
    job = client.enqueue(STOP, account="live-cn")
    real_redis.hset(answers_key(job.id), "of", "another type")
    view = job.look()
    assert view is not None
    assert (view.where, view.answers) == (Where.WAITING, ())
    real_redis.delete(answers_key(job.id))
    real_redis.set(answers_key(job.id), b"\xff{\x01", ex=60)
    assert job.look() == view


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
    ("answer", "where"),
    [({"result": Result.REFUSED, "code": "Forbidden"}, Where.DEAD), ({"result": Result.STOPPED}, Where.ENDED)],
)
def test_a_recording_client_sees_what_it_recorded(answer: dict[str, Any], where: Where) -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"})
    client.answer(StopMPUTask, **answer)
    view = client.enqueue(STOP, account="live-cn").look()
    assert view is not None
    assert view.outcome is not None
    assert (view.where, view.outcome.result) == (where, answer["result"])
    assert [one.became for one in view.answers] == [Became.ENDED]
    shutdown = client.stop_room("room", [Command(operation=STOP, account="live-cn")])
    (outcome,) = shutdown.outcomes()
    member = client.job(outcome.job_id).look()
    assert member is not None
    assert (member.where, member.room, member.shutdown) == (where, "room", shutdown.id)
    waiting = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True).enqueue(STOP, account="live-cn").look()
    assert waiting is not None
    assert (waiting.where, waiting.outcome) == (Where.WAITING, None)
