"""``client.drain()`` on a real Redis: what waits is cancelled, counted and gone."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from redis import Redis

from streamstop import (
    AsyncClient,
    Client,
    Command,
    Drained,
    InvalidCommand,
    Lane,
    Outcome,
    Result,
    UnknownOperation,
)
from streamstop._core.journal import EventKind
from streamstop._core.lane import result_key
from streamstop._redis.drain import PAGE, Tombs
from streamstop._wire.messages import celery_message
from streamstop.operations import StopMPUTask
from tests.support.lane_driver import LaneDriver
from tests.support.manual_clock import ManualClock

LIVE = Lane("live-cn", "live.StopMPUTask")
BY = "ann@ops"


def stops(count: int, account: str = "live-cn", **options: Any) -> list[Command]:
    return [
        Command(operation=StopMPUTask(app_id="a", task_id=f"t-{number}"), account=account, **options)
        for number in range(count)
    ]


def push(redis: Redis, *names: str, lane: Lane = LIVE, age: timedelta = timedelta(0), priority: int = 0) -> list[str]:
    """Put jobs that were enqueued `age` ago into a lane, behind the others; return their ids."""
    ids = [f"{lane.name}.{name}" for name in names]
    moment = (datetime.now(UTC) - age).timestamp()
    for name, job_id in zip(names, ids, strict=True):
        argument = {
            "v": 1,
            "operation": lane.operation,
            "account": lane.account,
            "params": {"AppId": "a", "TaskId": name},
            "enqueued_at": moment,
        }
        redis.lpush(lane.waiting[priority // 3], celery_message(job_id, lane, argument, priority=priority))
    return ids


def ids_waiting(redis: Redis, lane: Lane = LIVE) -> list[str]:
    """Return the ids of the jobs that wait, first to last."""
    entries: list[bytes] = []
    for name in lane.waiting:
        found: Any = redis.lrange(name, 0, -1)
        entries += found[::-1]
    return [json.loads(entry.rpartition(b"\n")[2])["headers"]["id"].rpartition(".")[2] for entry in entries]


def driver_of(redis: Redis) -> LaneDriver:
    """Return a worker for the lane."""
    return LaneDriver(redis, ManualClock(), limit=1000, lane=LIVE)


def test_everything_that_waits_is_cancelled_and_gone(client: Client, real_redis: Redis) -> None:
    jobs = client.enqueue_many([*stops(230), *stops(40, priority=5), *stops(3, priority=9)])
    others = client.enqueue_many(stops(2, account="live-de"))
    seen: list[int] = []
    drained = client.drain("live-cn", by=BY, progress=lambda so_far: seen.append(so_far.jobs))
    assert (drained.waiting, drained.deferred, drained.jobs) == (273, 0, 273)
    assert drained.operations == {"live.StopMPUTask": 273}
    assert seen == sorted(seen)
    assert len(seen) > 3, "it works in pages"
    assert real_redis.exists(*LIVE.waiting) == 0
    outcomes = [job.peek() for job in jobs]
    assert {outcome.result for outcome in outcomes if isinstance(outcome, Outcome)} == {Result.CANCELLED}
    assert len([outcome for outcome in outcomes if isinstance(outcome, Outcome)]) == 273
    first = outcomes[0]
    assert isinstance(first, Outcome)
    assert (first.message, first.params) == ("drained by ann@ops", {"AppId": "a", "TaskId": "t-0"})
    assert [job.peek() for job in others] == [None, None]
    assert client.drain("live-cn").jobs == 0


def test_a_dry_run_counts_the_same_and_changes_nothing(client: Client, real_redis: Redis) -> None:
    client.enqueue_many(stops(PAGE + 7))
    before = ids_waiting(real_redis)
    found = client.drain("live-cn", dry_run=True)
    assert (found.dry_run, found.jobs, len(found.examples)) == (True, PAGE + 7, 5)
    assert found.examples[0].params == {"AppId": "a", "TaskId": "t-0"}
    assert found.examples[0].enqueued_at is not None
    assert ids_waiting(real_redis) == before
    assert client.events() == []
    assert client.drain("live-cn").jobs == found.jobs


def test_deferred_jobs_are_cancelled_and_those_in_flight_go_on(client: Client, real_redis: Redis) -> None:
    driver = driver_of(real_redis)
    push(real_redis, *map(str, range(6)))
    driver.publish()
    taken = driver.take(2)
    driver.retry(taken[0], delay=timedelta(seconds=300))
    drained = client.drain("live-cn", by=BY)
    assert (drained.waiting, drained.deferred) == (4, 1)
    (view,) = client.lanes([LIVE])
    assert (view.waiting, view.in_flight, view.deferred) == (0, 1, 0)
    record = client.job(driver.job_id(taken[0])).peek()
    assert isinstance(record, Outcome)
    assert record.result is Result.CANCELLED
    assert driver.finish(taken[1])
    assert real_redis.exists(LIVE.jobs, LIVE.due, LIVE.leases) == 0


def test_only_older_jobs_are_drained_wherever_they_stand_and_the_order_stays(client: Client, real_redis: Redis) -> None:
    hour = timedelta(hours=1)
    push(real_redis, "o1", "o2", age=2 * hour)
    push(real_redis, "n1", "n2", age=hour / 2)
    push(real_redis, "o3", age=2 * hour)
    push(real_redis, "n3")
    push(real_redis, "o4", age=2 * hour, priority=9)
    push(real_redis, "n4", priority=9)
    entry: Any = real_redis.rpop(LIVE.queue)
    real_redis.rpush(LIVE.queue, b"\x011 2 0 0 0 0\n" + entry)
    drained = client.drain("live-cn", older_than=hour)
    assert drained.jobs == 4
    assert ids_waiting(real_redis) == ["n1", "n2", "n3", "n4"]
    assert client.drain("live-cn", "live.StopMPUTask", older_than=hour / 4).jobs == 2
    assert ids_waiting(real_redis) == ["n3", "n4"]


def test_jobs_deep_in_a_list_are_found_and_the_order_stays(client: Client, real_redis: Redis) -> None:
    names = [f"{'o' if number % 3 == 2 else 'n'}{number}" for number in range(PAGE * 9)]
    for name in names:
        push(real_redis, name, age=timedelta(hours=1) if name.startswith("o") else timedelta(0))
    drained = client.drain("live-cn", older_than=timedelta(minutes=30))
    assert drained.jobs == PAGE * 3
    assert ids_waiting(real_redis) == [name for name in names if name.startswith("n")]


def test_what_is_too_deep_in_a_list_is_dropped_by_workers(
    client: Client, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamstop._redis.drain._DEEPEST", 150)
    names = [f"{'o' if number % 25 == 20 else 'n'}{number}" for number in range(PAGE * 20)]
    for name in names:
        push(real_redis, name, age=timedelta(hours=1) if name.startswith("o") else timedelta(0))
    assert client.drain("live-cn", older_than=timedelta(minutes=30)).jobs == 40
    length: Any = real_redis.llen(LIVE.queue)
    assert PAGE * 20 - 40 < length < PAGE * 20 - 5, "some are removed, and some are not"
    assert client.drain("live-cn", older_than=timedelta(minutes=30)).jobs == 0
    driver = driver_of(real_redis)
    driver.publish()
    taken: list[str] = []
    while real_redis.exists(LIVE.queue):
        for name in driver.take(100):
            taken.append(name)
            driver.finish(name)
        driver.clock.advance(timedelta(seconds=1))
    assert taken == [name for name in names if name.startswith("n")]


@pytest.mark.parametrize(("length", "every"), [(1000, 2), (100_000, 2), (100_000, 10), (100_000, 999), (300_000, 7)])
def test_no_step_that_removes_replaced_entries_passes_many_others(length: int, every: int) -> None:
    entries = [number % every == 0 for number in range(length)]  # the front of the list first
    tombs = Tombs()
    for first in range(0, length, PAGE):
        tombs.add(first, sum(entries[first : first + PAGE]))
    while count := tombs.next_step(len(entries)):
        where = range(len(entries)) if count < 0 else range(len(entries) - 1, -1, -1)
        found = list(islice((at for at in where if entries[at]), abs(count)))
        assert len(found) == abs(count) <= 200 + PAGE
        passed = found[-1] + 1 if count < 0 else len(entries) - found[-1]
        assert passed <= 25_000 + PAGE
        gone = set(found)
        entries = [entry for at, entry in enumerate(entries) if at not in gone]
    assert not any(entries[:24_000] + entries[-24_000:])


def test_what_cannot_be_read_and_what_another_program_wrote_stays(client: Client, real_redis: Redis) -> None:
    entries = [b"garbage", b"\x01 \n{}", b'{"headers":{"id":"\\ud800"},"body":"[[{}],{},{}]"}']
    for entry in entries:
        real_redis.lpush(LIVE.queue, entry)
    ids = push(real_redis, "a")
    real_redis.lpush(result_key(ids[0]), "of another program")
    real_redis.expire(result_key(ids[0]), 60)
    assert client.drain("live-cn").jobs == 1
    assert real_redis.lrange(LIVE.queue, 0, -1) == entries[::-1]


def test_a_job_that_was_cancelled_by_its_id_leaves_the_list_too(client: Client, real_redis: Redis) -> None:
    jobs = client.enqueue_many(stops(3))
    jobs[1].cancel()
    assert client.drain("live-cn").jobs == 2
    assert ids_waiting(real_redis) == []


def test_a_drain_is_an_event_and_one_that_found_nothing_is_not(client: Client) -> None:
    client.drain("live-cn", by=BY)
    assert client.events() == []
    client.enqueue_many(stops(2))
    client.drain("live-cn", "live.StopMPUTask", by=BY)
    (event,) = client.events()
    assert (event.kind, event.account, event.operation, event.by) == (
        EventKind.DRAINED,
        "live-cn",
        "live.StopMPUTask",
        BY,
    )
    assert event.text == "2 waiting and 0 deferred jobs are cancelled"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"account": "Live"}, "account"),
        ({"account": "_control"}, "account"),
        ({"account": "live-cn", "older_than": -1}, "older_than"),
        ({"account": "live-cn", "room": ""}, "room"),
        ({"account": "live-cn", "by": "a\nb"}, "by"),
    ],
)
def test_input_is_checked_before_anything_is_done(client: Client, arguments: dict[str, Any], field: str) -> None:
    client.enqueue_many(stops(1))
    with pytest.raises(InvalidCommand) as raised:
        client.drain(**arguments)
    assert raised.value.field == field
    with pytest.raises(UnknownOperation):
        client.drain("live-cn", "live.Stop")
    assert client.lanes([LIVE])[0].waiting == 1


def test_from_asyncio(client: Client, redis_url: str) -> None:
    client.enqueue_many(stops(PAGE + 1))

    async def drain() -> tuple[Drained, Drained]:
        async with AsyncClient(redis_url) as operator:
            return await operator.drain("live-cn", dry_run=True), await operator.drain("live-cn")

    found, drained = asyncio.run(drain())
    assert (found.jobs, drained.jobs) == (PAGE + 1, PAGE + 1)


def test_workers_may_take_jobs_meanwhile_and_no_job_is_cancelled_and_called(client: Client, real_redis: Redis) -> None:
    push(real_redis, *map(str, range(PAGE * 3)))
    driver = driver_of(real_redis)
    driver.publish()
    called: list[str] = []

    def take(_: Drained) -> None:
        called.extend(driver.take(2))

    drained = client.drain("live-cn", progress=take)
    assert drained.jobs + len(called) == PAGE * 3
    for name in called:
        assert client.job(driver.job_id(name)).peek() is None
        assert driver.finish(name)
