"""A closed client leaves no connection, even if something was running when it closed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from redis import Redis

from streamstop import AsyncClient, Client
from tests.support.client_connections import connections_of
from tests.support.polling import TIMEOUT_S, eventually


def ids_of(redis: Redis) -> set[str]:
    return {each["id"] for each in redis.client_list()}


def test_a_connection_in_use_is_closed_after_its_command(real_redis: Redis, redis_url: str) -> None:
    with ThreadPoolExecutor() as threads:
        client = Client(redis_url)
        redis = connections_of(client).redis  # kept, for its connections would end with it
        running = threads.submit(redis.blpop, ["list"], 60)
        (ours,) = eventually(
            lambda: [each["id"] for each in real_redis.client_list() if each["cmd"] == "blpop"], "a command runs"
        )
        client.close()
        real_redis.rpush("list", "item")
        assert running.result() == (b"list", b"item")
        eventually(lambda: ours not in ids_of(real_redis), "its connection is closed")


def test_a_call_that_was_cancelled_opens_no_connection_after_the_close(real_redis: Redis, redis_url: str) -> None:
    before = ids_of(real_redis)
    begun, may_go_on = threading.Event(), threading.Event()
    pinged = []

    async def scenario() -> None:
        client = AsyncClient(redis_url)

        def call() -> None:
            begun.set()
            assert may_go_on.wait(TIMEOUT_S)
            pinged.append(connections_of(client.client).redis.ping())

        calling = asyncio.create_task(client._runner.call(call))
        await asyncio.to_thread(begun.wait, TIMEOUT_S)
        calling.cancel()
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        may_go_on.set()
        await closing
        assert pinged == [True]
        eventually(lambda: ids_of(real_redis) <= before, "its connection is closed")

    asyncio.run(scenario())
