"""Find: where the jobs of a stream task are, in a real Redis; and whether there is a job at all."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Command, InvalidCommand, Result, Where
from streamstop._core.backend import WaitInterval
from streamstop._core.constants import BATCH, BATCHES, DEAD, LEASED, SCHEDULE
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, DeadLetterRecord, Taken
from streamstop._core.letters import dead_letter_record
from streamstop._core.pace import Pace
from streamstop._core.stream_tasks import DEFERRED, TaskNote
from streamstop._redis import finder
from streamstop._redis.dead import READ
from streamstop._redis.finder import PAGE
from streamstop._redis.schedule import Book, Schedule
from streamstop._wire.messages import celery_message
from streamstop._wire.reports import Ended, Retried
from streamstop._wire.results import deferral_record, outcome_record
from streamstop.operations import GetMPUTaskStatus, Kind, StopEdgeTranscodeJob, StopMPUTask
from streamstop.outcomes import Deferral, Outcome
from streamstop.testing import RecordingClient

ACCOUNT = "live-cn"
LANE = Lane(ACCOUNT, "live.StopMPUTask")
DAY = timedelta(days=1)
DEFERRED_FOR = timedelta(minutes=1)
BOOK = Book({ACCOUNT: "aliyun"}, {}, Pace(1000, 50), {})


def stop(task_id: str, app_id: str = "a") -> StopMPUTask:
    return StopMPUTask(app_id=app_id, task_id=task_id)


def take(redis: Redis, number: int = 1) -> list[Taken]:
    """Take jobs of the lane, as a worker does."""
    redis.zadd(SCHEDULE, {LANE.name: 0})
    return list(Schedule(redis).take(number, lease=timedelta(seconds=15), book=BOOK).jobs)


def note(job: Taken, task_id: str, state: str) -> TaskNote:
    params = stop(task_id).params
    return TaskNote(
        task_id=task_id,
        job_id=job.job_id,
        lane=LANE,
        params=params,
        kind=Kind.STOP,
        state=state,
        in_doubt=False,
        at=datetime.now(UTC),
    )


def end(redis: Redis, job: Taken, task_id: str, result: Result) -> None:
    outcome = Outcome(
        result=result, job_id=job.job_id, operation=LANE.operation, account=ACCOUNT, params=stop(task_id).params
    )
    letter: DeadLetterRecord | None = dead_letter_record({"v": 1}, None, outcome, None)
    report = Ended(job=job, record=outcome_record(outcome), kept=DAY, letter=letter, note=note(job, task_id, result))
    Schedule(redis).report([report])


def defer(redis: Redis, job: Taken, task_id: str | None) -> None:
    record = deferral_record(job.job_id, Deferral("InternalError", datetime.now(UTC)))
    noted = None if task_id is None else note(job, task_id, DEFERRED)
    history = AttemptHistory(attempts=1)
    Schedule(redis).report([Retried(job=job, delay=DEFERRED_FOR, history=history, record=record, kept=DAY, note=noted)])


def test_each_job_of_a_task_is_found_once_wherever_it_is(client: Client, real_redis: Redis) -> None:
    states = ["ended", "dead", "deferred", "unnoted", "in_flight"]
    ids = {state: client.enqueue(stop("t-1"), account=ACCOUNT).id for state in states}
    jobs = {job.job_id: job for job in take(real_redis, len(states))}
    end(real_redis, jobs[ids["ended"]], "t-1", Result.STOPPED)
    end(real_redis, jobs[ids["dead"]], "t-1", Result.REFUSED)
    before = datetime.now(UTC)
    defer(real_redis, jobs[ids["deferred"]], "t-1")
    defer(real_redis, jobs[ids["unnoted"]], None)
    client.enqueue(stop("t-2"), account=ACCOUNT)
    ids["waiting"] = client.enqueue(stop("t-1"), account=ACCOUNT, priority=9).id
    client.enqueue(stop("t-1", "other"), account=ACCOUNT)
    client.register("room", stop("t-1"), account=ACCOUNT)
    client.register("other-room", stop("t-11"), account=ACCOUNT)

    found = list(client.find({"TaskId": "t-1", "AppId": "a"}))
    by_id = {sighting.job_id: sighting for sighting in found}
    assert len(by_id) == len(found) == 7
    where = {state: by_id[job_id].where.value for state, job_id in ids.items()}
    assert where == {**{state: state for state in ids}, "unnoted": "deferred"}
    assert (by_id[ids["ended"]].result, by_id[ids["dead"]].result) == (Result.STOPPED, Result.REFUSED)
    due = by_id[ids["deferred"]].at
    assert due is not None
    assert before + DEFERRED_FOR <= due <= datetime.now(UTC) + DEFERRED_FOR
    assert by_id[ids["waiting"]].place == 3, "two jobs of a higher priority go before it"
    assert (by_id[None].where, by_id[None].room) == (Where.REGISTERED, "room")
    assert {sighting.params["TaskId"] for sighting in found} == {"t-1"}
    taken = {sighting.where for sighting in found[:4]}
    assert taken == {Where.IN_FLIGHT, Where.DEFERRED, Where.ENDED, Where.DEAD}, "what the index knows comes first"

    assert len(list(client.find({"TaskId": "t-1"}))) == 8, "the other application's too"
    assert list(client.find({"TaskId": "t-1"}, account="live-eu")) == []
    assert list(client.find({"TaskId": "t-1"}, operation="live.GetMPUTaskStatus")) == []
    assert list(client.find({"TaskId": "t-3"})) == []


def test_what_was_taken_is_found_before_what_waits_in_a_few_commands(client: Client, real_redis: Redis) -> None:
    job_id = client.enqueue(stop("t-1"), account=ACCOUNT).id
    (job,) = take(real_redis)
    end(real_redis, job, "t-1", Result.STOPPED)
    client.enqueue_many([Command(operation=stop(f"w-{n}"), account=ACCOUNT) for n in range(5000)])
    next(client.find({"TaskId": "t-1"}))  # loads the scripts
    real_redis.config_resetstat()
    assert next(client.find({"TaskId": "t-1"})).job_id == job_id
    stats: Any = real_redis.info("commandstats")
    assert "cmdstat_lrange" not in stats, "no waiting job is read"
    assert sum(entry["calls"] for entry in stats.values()) < 10


def test_a_long_lane_is_searched_in_pages(client: Client, real_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "PAGE", 10)
    jobs = client.enqueue_many([Command(operation=stop(f"t-{n}"), account=ACCOUNT) for n in range(35)])
    for number in (0, 9, 10, 34):
        (sighting,) = client.find({"TaskId": f"t-{number}"})
        assert (sighting.job_id, sighting.place) == (jobs[number].id, number + 1)
        assert sighting.at is not None
        assert jobs[number].exists()
    messages: list[Any] = real_redis.lrange(LANE.queue, 0, -1)
    real_redis.delete(LANE.queue)  # as a batch that is accepted and not spread
    real_redis.rpush(f"{BATCH}b", *(f"0 {LANE.name}\n{message.decode()}" for message in messages))
    real_redis.lpush(BATCHES, "b")
    assert [sighting.place for sighting in client.find({"TaskId": "t-9"})] == [None]
    assert jobs[9].exists()


def test_a_job_that_was_cancelled_and_still_waits_has_ended(client: Client) -> None:
    job = client.enqueue(stop("t-1"), account=ACCOUNT)
    job.cancel()
    (sighting,) = client.find({"TaskId": "t-1"})
    assert (sighting.where, sighting.result, sighting.job_id) == (Where.ENDED, Result.CANCELLED, job.id)


def test_a_task_with_an_unusual_id_is_found(client: Client, real_redis: Redis) -> None:
    strange = '*[a]\\ "任务" ' + "x" * 200
    taken, waiting = (client.enqueue(stop(strange), account=ACCOUNT).id for _ in range(2))
    (job,) = take(real_redis)
    client.register("room *", stop(strange), account=ACCOUNT)
    assert job.job_id == taken
    found = {(sighting.where, sighting.job_id) for sighting in client.find({"TaskId": strange})}
    assert found == {(Where.IN_FLIGHT, taken), (Where.WAITING, waiting), (Where.REGISTERED, None)}


def test_there_is_no_job_that_was_never_enqueued(client: Client, real_redis: Redis) -> None:
    job = client.enqueue(stop("t-1"), account=ACCOUNT)
    assert job.exists()
    (taken,) = take(real_redis)
    assert job.exists()
    defer(real_redis, taken, "t-1")
    assert job.exists()
    for job_id in (LANE.new_job_id(), "nobody.live.StopMPUTask.0", "no id of ours", ""):
        assert not client.job(job_id).exists()
    message = json.dumps({"headers": {"id": "of-another-producer"}, "body": "[]"})
    real_redis.lpush(LANE.queue, message)
    assert client.job("of-another-producer").exists()


def test_a_member_of_a_shutdown_names_it(client: Client, real_redis: Redis) -> None:
    message = {**Command(operation=stop("t-1"), account=ACCOUNT).to_message(now=datetime.now(UTC))}
    text = celery_message("m", LANE, {**message, "shutdown": {"shutdown": "s-1", "member": "x"}})
    real_redis.lpush(LANE.queue, text)
    real_redis.zadd(SCHEDULE, {LANE.name: 0})
    (sighting,) = client.find({"TaskId": "t-1"})
    assert (sighting.job_id, sighting.shutdown, sighting.where) == ("m", "s-1", Where.WAITING)
    assert not real_redis.exists(LEASED)


@pytest.mark.parametrize(
    ("params", "options", "field"),
    [
        ({}, {}, "params"),
        ({"AppId": "a"}, {}, "params"),
        ("", {}, "params"),
        (b"t-1", {}, "params"),
        ({"TaskId": ""}, {}, "TaskId"),
        ({"TaskId": ["t"]}, {}, "TaskId"),
        ({"TaskId": "t"}, {"account": "NO"}, "account"),
        ({"TaskId": "t"}, {"operation": "no.Such"}, "operation"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(params: object, options: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidCommand) as told:
        next(RecordingClient().find(params, **options))  # type: ignore[arg-type]
    assert told.value.field == field


def test_the_recording_client_finds_its_jobs() -> None:
    client = RecordingClient(leave_open=True)
    client.answer(GetMPUTaskStatus, result="not_found")
    other = client.enqueue(stop("t-2"), account=ACCOUNT)
    job = client.enqueue(stop("t-1"), account=ACCOUNT)
    status = client.enqueue(GetMPUTaskStatus(app_id="a", task_id="t-1"), account=ACCOUNT)
    client.register("room", stop("t-1"), account=ACCOUNT)
    client.end(status)
    found = [(sighting.where, sighting.job_id, sighting.place) for sighting in client.find({"TaskId": "t-1"})]
    assert found == [(Where.WAITING, job.id, 2), (Where.DEAD, status.id, None), (Where.REGISTERED, None, None)]
    client.end()
    client.stop_room("room")
    found = [(sighting.where, sighting.job_id, sighting.place) for sighting in client.find({"TaskId": "t-2"})]
    assert found == [(Where.ENDED, other.id, None)]
    assert job.exists()
    assert not client.job("x").exists()


def test_the_async_client_finds_them_too(redis_url: str) -> None:
    async def find() -> None:
        async with AsyncClient(redis_url) as client:
            job = await client.enqueue(stop("t-1"), account=ACCOUNT)
            assert [sighting.job_id async for sighting in client.find({"TaskId": "t-1"})] == [job.id]
            assert await job.exists()

    asyncio.run(find())


def test_a_task_is_found_by_its_id_alone_whatever_the_vendor_calls_it(client: Client) -> None:
    task = client.enqueue(stop("x-1"), account=ACCOUNT)
    job = client.enqueue(StopEdgeTranscodeJob(cluster_id="c", job_id="x-1"), account=ACCOUNT)
    client.enqueue(stop("x-2", "x-1"), account=ACCOUNT)
    client.register("room", StopEdgeTranscodeJob(cluster_id="c", job_id="x-1"), account=ACCOUNT)
    found = list(client.find("x-1"))
    assert {sighting.job_id for sighting in found if sighting.where is Where.WAITING} == {task.id, job.id}
    assert [sighting.room for sighting in found if sighting.where is Where.REGISTERED] == ["room"]
    assert [sighting.job_id for sighting in client.find("x-1", operation="live.StopMPUTask")] == [task.id]


def test_a_search_pauses_after_each_page_so_that_it_can_be_given_up(client: Client) -> None:
    client.enqueue_many(Command(operation=stop(f"t-{n}"), account=ACCOUNT) for n in range(3 * PAGE + 1))
    client.register_many("room", [Command(operation=stop(f"t-{n}"), account=ACCOUNT) for n in range(3 * PAGE)])
    steps = list(client._finding("none", None, None))
    assert len(steps) > 4 + 3
    assert all(isinstance(step, WaitInterval) and step.news.done() for step in steps)
    assert list(client.find("none")) == []


@pytest.mark.parametrize("task_id", ["none", "\N{SNOWMAN}"])
def test_a_search_pauses_within_the_dead_letters_too(client: Client, real_redis: Redis, task_id: str) -> None:
    def pauses() -> int:
        return sum(isinstance(step, WaitInterval) for step in client._finding(task_id, None, None))

    before = pauses()
    real_redis.zadd(DEAD, {f"{LANE.name}.{number:032}": number + 1 for number in range(3 * READ)})
    assert pauses() == before + 3
