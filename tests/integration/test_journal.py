"""The journal in a real Redis: who follows is told at once, nothing is missed, and no trouble of it stops a report."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from streamstop import AsyncClient, Client, Event, EventKind, InternalError, QueueUnavailable
from streamstop._core.constants import ERROR_COUNTS, EVENTS
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, CallError, LastCall, Taken
from streamstop._core.pace import Pace
from streamstop._redis.journal import Journal
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Ended, Report, Throttled
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import ENDED, KEPT, announce, book_for
from tests.support.polling import TIMEOUT_S, eventually

LANE = Lane("live-cn", "live.StopMPUTask")
LEASE = timedelta(seconds=30)
ERROR = CallError("Throttling.User", "too fast", "R-1", is_unknown=False)

#: Followers hear of events by news alone.
pytestmark = pytest.mark.usefixtures("news_alone")


@pytest.fixture
def journal(real_redis: Redis) -> Journal:
    return Journal(real_redis)


@pytest.fixture
def jobs(real_redis: Redis) -> Iterator[list[Taken]]:
    """Three jobs that a worker has taken."""
    for number in range(3):
        real_redis.lpush(LANE.queue, celery_message(LANE, f"{LANE.name}.{number}"))
    announce(real_redis, LANE)
    yield list(Schedule(real_redis).take(3, lease=LEASE, book=book_for(LANE, pace=Pace.of_limit(1000))).jobs)
    real_redis.delete(*LANE.keys)


def throttled(job: Taken) -> Report:
    return Throttled(job=job, hint=None, history=AttemptHistory(calls=1), error=ERROR)


def refused(job: Taken) -> Report:
    return Ended(job=job, call=LastCall.WELL, record=ENDED, kept=KEPT, error=ERROR)


def await_follower(redis: Redis) -> None:
    eventually(lambda: dict(redis.pubsub_numsub(EVENTS)).get(EVENTS.encode()), "somebody follows the events")


def texts(events: Iterator[Event], count: int) -> list[str]:
    return [event.text for event in islice(events, count)]


def test_a_follower_is_told_of_events_as_they_happen_from_then_on(
    client: Client, journal: Journal, real_redis: Redis
) -> None:
    journal.add(EventKind.PAUSED, "before", account="live-cn")
    with ThreadPoolExecutor(2) as pool:
        every = pool.submit(texts, client.follow_events(), 3)
        await_follower(real_redis)
        of_account = pool.submit(texts, client.follow_events(account="live-cn", after="0-0"), 3)
        for account, text in (("live-cn", "a"), ("trtc-sg", "b"), ("live-cn", "c")):
            journal.add(EventKind.PAUSED, text, account=account)
        assert every.result(TIMEOUT_S) == ["a", "b", "c"]
        assert of_account.result(TIMEOUT_S) == ["before", "a", "c"]


def test_the_asynchronous_client_follows_too(redis_url: str, journal: Journal, real_redis: Redis) -> None:
    async def main() -> None:
        async with AsyncClient(redis_url) as client:

            async def first() -> Event:
                async for event in client.follow_events():
                    return event
                raise AssertionError("no event")

            following = asyncio.create_task(first())
            await asyncio.to_thread(await_follower, real_redis)
            await asyncio.to_thread(journal.add, EventKind.HELD, "a")
            event = await asyncio.wait_for(following, TIMEOUT_S)
            assert (event.kind, event.text) == (EventKind.HELD, "a")
            assert await client.events() == [event]
            assert await client.errors() == []

    asyncio.run(main())


def test_following_ends_when_its_time_is_over(client: Client, journal: Journal) -> None:
    started = time.monotonic()
    journal.add(EventKind.HELD, "before")
    assert list(client.follow_events(timeout=0.3)) == []
    assert texts(client.follow_events(after="0-0", timeout=0), 9) == ["before"]
    assert time.monotonic() - started < TIMEOUT_S


def test_a_lost_connection_loses_no_event(client: Client, journal: Journal, real_redis: Redis) -> None:
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(texts, client.follow_events(), 3)
        await_follower(real_redis)
        journal.add(EventKind.HELD, "before")
        assert real_redis.client_kill_filter(_type="pubsub") == 1
        journal.add(EventKind.HELD, "meanwhile")
        await_follower(real_redis)
        journal.add(EventKind.HELD, "after")
        assert following.result(TIMEOUT_S) == ["before", "meanwhile", "after"]


def test_the_oldest_events_go_and_no_key_grows_for_ever(journal: Journal, real_redis: Redis) -> None:
    pipeline = real_redis.pipeline(transaction=False)
    for number in range(12_000):
        pipeline.xadd(EVENTS, {"kind": "held", "text": str(number)})
    pipeline.execute()
    journal.add(EventKind.HELD, "last")
    count: Any = real_redis.xlen(EVENTS)
    assert 10_000 <= count < 10_200  # Redis removes whole nodes of the stream, each of up to 100 entries
    events = list(journal.events())
    assert (len(events), events[-1].text) == (count, "last")
    # A whole journal is read and followed from its beginning too.
    assert list(journal.events(after=events[-2].id)) == events[-1:]


def test_reports_count_errors_in_a_hash_that_expires(
    jobs: list[Taken], client: Client, journal: Journal, real_redis: Redis
) -> None:
    Schedule(real_redis).report([refused(jobs[0]), refused(jobs[1])])
    (count,) = client.errors()
    assert (count.account, count.operation, count.code, count.count) == (*LANE.name.split(".", 1), "Throttling.User", 2)
    assert (count.message, count.request_id) == ("too fast", "R-1")
    (key,) = real_redis.scan_iter(f"{ERROR_COUNTS}*")
    assert real_redis.ttl(key) > KEPT.total_seconds()
    assert real_redis.hget(LANE.pace, "error_code") == b"Throttling.User"
    assert list(journal.events()) == []


def test_reports_and_the_journal_go_on_while_redis_is_over_its_memory_limit(
    jobs: list[Taken], journal: Journal, real_redis: Redis
) -> None:
    real_redis.config_set("maxmemory", 1)
    try:
        assert Schedule(real_redis).report([throttled(jobs[0])]).rests == [timedelta(seconds=1)]
        rests = Schedule(real_redis).report([refused(jobs[1]), refused(jobs[2])]).rests
        journal.add(EventKind.WORKER_STARTED, "", by="celery@host")
        with pytest.raises(OutOfMemoryError):
            real_redis.set("streamstop.no-room", 1)
    finally:
        real_redis.config_set("maxmemory", 0)
    assert None not in rests
    assert [event.kind for event in journal.events()] == [EventKind.RESTING, EventKind.WORKER_STARTED]
    assert [count.count for count in journal.errors(since=KEPT)] == [3]


def test_reports_go_on_where_the_redis_user_may_not_tell_of_events(
    jobs: list[Taken], redis_process: RedisServer, journal: Journal, real_redis: Redis
) -> None:
    """A worker of this version with the rules of an earlier one."""
    acl: Any = real_redis.execute_command
    acl(
        "ACL",
        "SETUSER",
        "old-worker",
        "on",
        ">pass",
        "~streamstop.*",
        "resetchannels",
        "&streamstop.shutdown.*",
        "+@all",
    )
    try:
        with Redis(port=redis_process.port, username="old-worker", password="pass") as worker:
            assert Schedule(worker).report([throttled(jobs[0])]).rests == [timedelta(seconds=1)]
    finally:
        acl("ACL", "DELUSER", "old-worker")
    assert [event.kind for event in journal.events()] == [EventKind.RESTING]


def test_a_key_of_another_type_stops_no_report(jobs: list[Taken], client: Client, real_redis: Redis) -> None:
    real_redis.set(EVENTS, "of another program", ex=3600)
    seconds = real_redis.time()[0]
    for number in (seconds // 300, seconds // 300 + 1):
        real_redis.set(f"{ERROR_COUNTS}{number}", "of another program", ex=3600)
    assert None not in Schedule(real_redis).report([throttled(jobs[0]), refused(jobs[1])]).rests
    for read in (client.events, client.errors):
        with pytest.raises(InternalError, match="WRONGTYPE"):
            read()


def test_who_follows_is_told_that_redis_went_away_and_can_go_on_after_its_last_event() -> None:
    with redis_server() as server, Client(server.url) as client:
        with server.client() as redis:
            Journal(redis).add(EventKind.HELD, "before")
            (event,) = client.events()
            with ThreadPoolExecutor(1) as pool:
                following = pool.submit(texts, client.follow_events(after=event.id), 1)
                await_follower(redis)
                server.process.kill()
                server.process.wait()
                with pytest.raises(QueueUnavailable, match="follow the events again"):
                    following.result(TIMEOUT_S)
        with redis_server(folder=server.folder, port=server.port) as again, again.client() as redis:
            Journal(redis).add(EventKind.HELD, "after")
            assert texts(client.follow_events(after=event.id), 1) == ["after"]
