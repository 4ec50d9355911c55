"""Waits share one subscribed connection: they are many, miss nothing, end on time, and survive its loss."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Outcome, OutcomeTimeout, QueueUnavailable, Result
from streamstop._core.lane import result_key
from streamstop._redis.rooms import shutdown_channel
from streamstop._redis.waiting import changes
from streamstop._wire.results import outcome_record
from streamstop_simulator.demo.embedded_redis import RedisServer
from tests.support.bad_network import bad_network
from tests.support.client_connections import connections_of
from tests.support.polling import TIMEOUT_S, eventually

WAITS = 150

#: Waits hear of ends by news alone.
pytestmark = pytest.mark.usefixtures("news_alone")


def job_ids(count: int, name: str = "j") -> list[str]:
    return [f"a.live.StopMPUTask.{name}{number}" for number in range(count)]


def end(redis: Redis, job_id: str) -> None:
    """Record how a job ended, and tell it, as the scripts of workers do."""
    outcome = Outcome(result=Result.STOPPED, job_id=job_id, account="a", operation="live.StopMPUTask")
    key, record = result_key(job_id), outcome_record(outcome)
    with redis.pipeline(transaction=True) as pipe:
        pipe.set(key, record, ex=60)
        pipe.publish(key, record)
        pipe.execute()


def subscribed(redis: Redis) -> int:
    return len(redis.pubsub_channels())


def await_subscribed(redis: Redis, count: int) -> None:
    eventually(lambda: subscribed(redis) == count, f"{count} channels subscribed to")


@pytest.fixture
def own_threads() -> Callable[[], list[str]]:
    """Return what lists the threads that the test has started; other tests may have left some of theirs."""
    others = set(threading.enumerate())
    return lambda: [
        one.name for one in threading.enumerate() if one.name.startswith("streamstop") and one not in others
    ]


def test_many_waits_of_an_event_loop_are_served_at_once_by_few_threads_and_one_connection(
    redis_url: str, real_redis: Redis, own_threads: Callable[[], list[str]]
) -> None:
    ids = job_ids(WAITS)
    connections_before = len(real_redis.client_list())

    async def main() -> None:
        async with AsyncClient(redis_url) as client:
            waits = [asyncio.create_task(client.job(job_id).outcome(TIMEOUT_S)) for job_id in ids]
            await asyncio.to_thread(await_subscribed, real_redis, WAITS)
            assert len(own_threads()) < 20
            info = [one for one in real_redis.client_list() if one["sub"] != "0"]
            assert len(info) == 1
            assert len(real_redis.client_list()) < connections_before + 20
            await asyncio.to_thread(end, real_redis, ids[-1])
            assert (await waits[-1]).job_id == ids[-1]
            assert not any(wait.done() for wait in waits[:-1])
            for job_id in ids[:-1]:
                await asyncio.to_thread(end, real_redis, job_id)
            assert [outcome.job_id for outcome in await asyncio.gather(*waits)] == ids

    asyncio.run(main())
    eventually(lambda: not own_threads(), "the threads ended with the client")


def test_nothing_is_missed_between_a_look_and_the_subscription(redis_url: str, real_redis: Redis) -> None:
    ids = job_ids(300, "race")

    async def main() -> None:
        async with AsyncClient(redis_url) as client:
            waits = []
            for job_id in ids:
                waits.append(asyncio.create_task(client.job(job_id).outcome(TIMEOUT_S)))
                await asyncio.to_thread(end, real_redis, job_id)
            assert [outcome.job_id for outcome in await asyncio.gather(*waits)] == ids

    asyncio.run(main())


def test_threads_share_the_connection_and_what_one_gives_up_another_still_hears(
    client: Client, real_redis: Redis
) -> None:
    shared, other = job_ids(2)
    with ThreadPoolExecutor(3) as pool:
        patient = pool.submit(client.job(shared).outcome, 60)
        both = pool.submit(lambda: list(client.outcomes([client.job(shared), client.job(other)], 60)))
        await_subscribed(real_redis, 2)
        with pytest.raises(OutcomeTimeout):
            client.job(shared).outcome(0.2)
        end(real_redis, shared)
        assert patient.result(TIMEOUT_S).job_id == shared
        end(real_redis, other)
        assert {outcome.job_id for outcome in both.result(TIMEOUT_S)} == {shared, other}


@pytest.mark.parametrize("timeout", [0, 0.3, -1])
def test_a_wait_ends_when_its_time_is_over(client: Client, timeout: float) -> None:
    started = time.monotonic()
    with pytest.raises(OutcomeTimeout):
        client.job("a.live.StopMPUTask.never").outcome(timeout)
    assert max(0.0, timeout) <= time.monotonic() - started < max(0.0, timeout) + TIMEOUT_S


def test_a_connection_that_redis_closed_is_made_anew_and_nothing_is_missed(client: Client, real_redis: Redis) -> None:
    before, meanwhile, after = job_ids(3)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lambda: [one.job_id for one in client.outcomes(list(map(client.job, job_ids(3))), 60)])
        await_subscribed(real_redis, 3)
        end(real_redis, before)
        assert real_redis.client_kill_filter(_type="pubsub") == 1
        end(real_redis, meanwhile)
        await_subscribed(real_redis, 3)
        end(real_redis, after)
        assert sorted(waiting.result(TIMEOUT_S)) == [before, meanwhile, after]


def listening_ids(redis: Redis) -> set[str]:
    return {one["id"] for one in redis.client_list() if one["sub"] != "0"}


@pytest.mark.long
def test_a_connection_that_went_dead_is_noticed_and_made_anew(redis_process: RedisServer, real_redis: Redis) -> None:
    (job_id,) = job_ids(1)

    def wait(client: Client) -> str:
        while True:
            try:
                return client.job(job_id).outcome(60).job_id
            except QueueUnavailable:  # a look on an idle connection that is dead too
                continue

    with (
        bad_network(redis_process.port) as network,
        Client(f"redis://127.0.0.1:{network.port}/0", timeout=1) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(wait, client)
        await_subscribed(real_redis, 1)
        dead = listening_ids(real_redis)
        network.cut()
        eventually(lambda: listening_ids(real_redis) - dead, "another subscribed connection")
        await_subscribed(real_redis, 1)
        end(real_redis, job_id)
        assert waiting.result(TIMEOUT_S) == job_id


def test_waits_that_are_cancelled_leave_nothing(
    redis_url: str, real_redis: Redis, own_threads: Callable[[], list[str]]
) -> None:
    async def main() -> None:
        async with AsyncClient(redis_url) as client:
            waits = [asyncio.create_task(client.job(job_id).outcome()) for job_id in job_ids(20)]
            await asyncio.to_thread(await_subscribed, real_redis, 20)
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
            assert all(wait.cancelled() for wait in waits)
            news = connections_of(client.client).news
            eventually(lambda: news._listeners == 0, "nobody listens")

    asyncio.run(main())
    eventually(lambda: not own_threads(), "the threads ended with the client")
    eventually(lambda: subscribed(real_redis) == 0, "nothing is subscribed to")


def test_a_closed_client_can_wait_again(client: Client, real_redis: Redis) -> None:
    (job_id,) = job_ids(1)
    for _ in range(3):
        with pytest.raises(OutcomeTimeout):
            client.job(job_id).outcome(0.05)
        client.close()
        await_subscribed(real_redis, 0)
    end(real_redis, job_id)
    assert client.job(job_id).outcome(TIMEOUT_S).job_id == job_id


def test_a_wait_goes_on_after_its_client_was_closed(client: Client, real_redis: Redis) -> None:
    (job_id,) = job_ids(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.job(job_id).outcome, 60)
        await_subscribed(real_redis, 1)
        client.close()
        end(real_redis, job_id)
        assert waiting.result(TIMEOUT_S).job_id == job_id


@pytest.fixture
def deaf_url(redis_process: RedisServer, real_redis: Redis) -> Iterator[str]:
    """The url of a user who may read outcomes, and listen to no shutdown."""
    rules = "on nopass resetkeys ~celery-task-meta-* resetchannels &celery-task-meta-* -@all"
    commands = "+get +mget +subscribe +unsubscribe +ping +select"
    command = ["ACL", "SETUSER", "deaf", *rules.split(), *commands.split()]
    real_redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py gives it no types
    yield f"redis://deaf:any@127.0.0.1:{redis_process.port}/0"
    real_redis.acl_deluser("deaf")


def test_a_channel_that_is_forbidden_ends_its_wait_and_no_other(deaf_url: str, real_redis: Redis) -> None:
    (job_id,) = job_ids(1)
    with Client(deaf_url) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.job(job_id).outcome, 60)
        await_subscribed(real_redis, 1)
        with pytest.raises(QueueUnavailable, match="this Redis user may not do this"):
            list(client.shutdown("s").watch(60))
        end(real_redis, job_id)
        assert waiting.result(TIMEOUT_S).job_id == job_id


def test_changes_are_told_at_once_and_at_most_ten_times_a_second(client: Client, real_redis: Redis) -> None:
    from streamstop._core.backend import blocking

    channel = shutdown_channel("s")
    told = blocking(changes(connections_of(client).news, channel, None))
    next(told)
    await_subscribed(real_redis, 1)
    started = time.monotonic()
    for _ in range(3):
        for _ in range(100):
            real_redis.publish(channel, "")
        next(told)
    assert 0.2 <= time.monotonic() - started < TIMEOUT_S
    told.close()  # type: ignore[attr-defined]  # it is a generator


FORKING = """
import os, sys, threading
from streamstop import Client
from redis import Redis

url, ended = sys.argv[1:]
client = Client(url)
redis = Redis.from_url(url)


def wait():
    os.write(1, client.job(ended).outcome(60).job_id.encode() + b"\\n")  # whole lines, from two processes


waiting = threading.Thread(target=wait)
waiting.start()
while not redis.pubsub_channels():
    pass
child = os.fork()
if child == 0:
    wait()
    os._exit(0)
print("forked", flush=True)
waiting.join()
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_waits_by_a_connection_of_its_own(redis_url: str, real_redis: Redis) -> None:
    (ended,) = job_ids(1)
    command = [sys.executable, "-c", FORKING, redis_url, ended]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        key = result_key(ended)
        eventually(lambda: dict(real_redis.pubsub_numsub(key)) == {key.encode(): 2}, "both wait")
        end(real_redis, ended)
        assert process.stdout.read().split() == [ended, ended]
    assert process.returncode == 0
