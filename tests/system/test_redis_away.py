"""Producers while Redis is absent, silent, full, demoted or killed: they get an error, and no call is half done."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Command, QueueUnavailable
from streamstop._core.constants import ARRIVALS, WAKE
from streamstop.operations import StopMPUTask, StopStreamIngest
from streamstop_simulator.demo.embedded_redis import RedisServer, free_port, redis_server
from tests.support.bad_network import BadNetwork, bad_network
from tests.support.client_connections import connections_of
from tests.support.loopback import LoopbackServer
from tests.support.polling import PATIENT, eventually
from tests.support.redis_content import SURVIVES_A_KILL, everything_in

#: The timeout of a client that shall run into it.
BRIEF = timedelta(seconds=1)
#: The timeout of a client that shall run into it, and be answered in time later. A process may stand still meanwhile.
ENOUGH = timedelta(seconds=6)
#: Far beyond what a call may take, far below a hang.
HANGS_S = 60


def stop(task_id: str = "t") -> StopMPUTask:
    return StopMPUTask(app_id="a", task_id=task_id)


def commands(count: int = 6) -> list[Command]:
    """Commands for two lanes, in two lists of each."""
    stops = (
        [stop(f"m-{n}") for n in range(count)],
        [StopStreamIngest(sdk_app_id=1, task_id=f"i-{n}") for n in range(count)],
    )
    return [Command(operation=one, account="acc", priority=n % 2 * 9) for some in stops for n, one in enumerate(some)]


CALLS: dict[str, Callable[[Client], object]] = {
    "enqueue": lambda client: client.enqueue(stop(), account="acc"),
    "enqueue_many": lambda client: client.enqueue_many(commands()),
    "register": lambda client: client.register("room", stop(), account="acc"),
    "stop_room": lambda client: client.stop_room("room"),
    "stop_room with commands": lambda client: client.stop_room("room", commands()),
}
OTHERS: dict[str, Callable[[Client], object]] = {
    "cancel": lambda client: client.job("acc.live.StopMPUTask.1").cancel(),
    "peek": lambda client: client.job("acc.live.StopMPUTask.1").peek(),
    "outcome": lambda client: client.job("acc.live.StopMPUTask.1").outcome(60),
    "progress": lambda client: client.shutdown("none").progress(),
    "unregister": lambda client: client.unregister("room", stop(), account="acc"),
    "room": lambda client: client.room("room"),
    "reopen_room": lambda client: client.reopen_room("room"),
    "cancel a shutdown": lambda client: client.shutdown("none").cancel(),
}
accepting = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
every = pytest.mark.parametrize("call", (CALLS | OTHERS).values(), ids=(CALLS | OTHERS).keys())


def within(seconds: float, call: Callable[[], object]) -> object:
    """Return what `call` returns, or raise what it raises; a call that hangs fails the test."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(seconds)


@pytest.fixture
def network(redis_url: str, redis_process: RedisServer) -> Iterator[BadNetwork]:
    """A network to an empty Redis."""
    with bad_network(redis_process.port) as network:
        yield network


def for_each_accepting(network: BadNetwork, check: Callable[[Client, Callable[[Client], object]], None]) -> None:
    """Check every call that takes commands, each in a thread and with a client of its own: they share the waiting."""

    def check_one(call: Callable[[Client], object]) -> None:
        with Client(f"redis://127.0.0.1:{network.port}/0", timeout=ENOUGH) as client:
            check(client, call)

    with ThreadPoolExecutor(len(CALLS)) as pool:
        for checked in [pool.submit(check_one, call) for call in CALLS.values()]:
            checked.result(2 * HANGS_S)


@every
def test_every_call_reports_that_nothing_listens(call: Callable[[Client], object]) -> None:
    with (
        Client(f"redis://127.0.0.1:{free_port()}/0", timeout=PATIENT) as client,
        pytest.raises(QueueUnavailable, match="connection refused at"),
    ):
        within(HANGS_S, lambda: call(client))


@every
def test_every_call_reports_a_redis_that_accepts_connections_and_stays_silent(call: Callable[[Client], object]) -> None:
    with (
        LoopbackServer(lambda connection: connection.hang()) as server,
        Client(f"redis://127.0.0.1:{server.port}/0", timeout=BRIEF) as client,
        pytest.raises(QueueUnavailable, match="timed out at"),
    ):
        within(HANGS_S, lambda: call(client))


def test_the_timeout_is_for_all_of_a_call_and_not_for_each_of_its_round_trips(network: BadNetwork) -> None:
    all_refused = threading.Barrier(len(CALLS))

    def check(client: Client, call: Callable[[Client], object]) -> None:
        with pytest.raises(QueueUnavailable, match="timed out at"):
            call(client)
        all_refused.wait(HANGS_S)
        network.delay_s = 0
        call(client)

    network.delay_s = 0.6 * ENOUGH.total_seconds()  # each answer within the timeout, and two of them beyond it
    for_each_accepting(network, check)


def test_threads_that_meet_a_silent_redis_do_not_wait_for_each_other(network: BadNetwork) -> None:
    network.silent = True
    started = time.monotonic()
    with (
        Client(f"redis://127.0.0.1:{network.port}/0", timeout=BRIEF) as client,
        ThreadPoolExecutor(30) as pool,
    ):
        calls = [pool.submit(client.enqueue, stop(), account="acc") for _ in range(30)]
        assert {type(call.exception(HANGS_S)) for call in calls} == {QueueUnavailable}
    assert time.monotonic() - started < 20  # one after the other they would take 30 timeouts


def test_connections_that_went_dead_while_idle_cost_one_error_in_all(network: BadNetwork) -> None:
    all_idle = threading.Barrier(len(CALLS), action=network.cut)

    def connect(client: Client, together: threading.Barrier) -> None:
        with connections_of(client).redis.client() as one:  # type: ignore[no-untyped-call]  # redis-py gives it no types
            together.wait(HANGS_S)
            assert one.ping()

    def check(client: Client, call: Callable[[Client], object]) -> None:
        together = threading.Barrier(5)
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda _: connect(client, together), range(5)))
        all_idle.wait(HANGS_S)
        with pytest.raises(QueueUnavailable, match="timed out at"):
            call(client)
        for _ in range(5):
            call(client)

    for_each_accepting(network, check)


def test_a_command_that_no_worker_can_be_told_of_is_enqueued(client: Client, real_redis: Redis) -> None:
    for key in (ARRIVALS, WAKE):
        real_redis.set(key, "what an add or a push is refused on")
    job = client.enqueue(stop(), account="acc")
    (message,) = real_redis.lrange("streamstop.lane.acc.live.StopMPUTask", 0, -1)
    assert job.id.encode() in message


def test_an_async_client_is_told_too_and_its_loop_goes_on(network: BadNetwork) -> None:
    async def main() -> None:
        async with AsyncClient(f"redis://127.0.0.1:{network.port}/0", timeout=ENOUGH) as client:
            network.silent = True
            calls = [asyncio.create_task(client.enqueue(stop(), account="acc")) for _ in range(1000)]
            done, hanging = await asyncio.wait(calls, timeout=HANGS_S)
            assert not hanging
            assert {type(call.exception()) for call in done} == {QueueUnavailable}
            network.silent = False
            assert (await client.enqueue(stop(), account="acc")).id

    asyncio.run(main())


@pytest.mark.parametrize("closing", [False, True], ids=["in an open room", "in a closing room"])
@accepting
def test_a_redis_that_is_full_takes_nothing_of_a_call_and_the_error_says_why(
    call: Callable[[Client], object], closing: bool, client: Client, real_redis: Redis
) -> None:
    client.register_many("room", commands()[:2])
    if closing:
        client.stop_room("room")
        if call in {CALLS["stop_room"], CALLS["stop_room with commands"]}:
            return  # it is taken whole: see below
    before = everything_in(real_redis)
    real_redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(QueueUnavailable, match=r"out of memory.*OOM.*: nothing was changed"):
            call(client)
        assert everything_in(real_redis) == before
    finally:
        real_redis.config_set("maxmemory", "0")
    call(client)
    assert everything_in(real_redis) != before


def test_a_full_redis_lets_more_join_a_shutdown_that_is_open_and_takes_it_whole(
    client: Client, real_redis: Redis
) -> None:
    shutdown = client.stop_room("room", commands()[:2])
    real_redis.config_set("maxmemory", "1")
    try:
        assert client.stop_room("room") == shutdown
        assert client.stop_room("room", commands()) == shutdown
    finally:
        real_redis.config_set("maxmemory", "0")
    assert shutdown.progress().total == real_redis.llen(f"streamstop.shutdown.{shutdown.id}:todo") == len(commands())


@accepting
def test_a_redis_that_became_a_replica_takes_nothing_and_the_new_primary_is_found(
    call: Callable[[Client], object],
    network: BadNetwork,
    redis_process: RedisServer,
    real_redis: Redis,
) -> None:
    with (
        Client(f"redis://127.0.0.1:{network.port}/0", timeout=PATIENT) as remote_client,
        redis_server("--replicaof", "127.0.0.1", str(redis_process.port)) as other,
        other.client() as promoted,
    ):
        call(remote_client)
        eventually(lambda: promoted.info("replication")["master_link_status"] == "up", "the replica connected")
        promoted.replicaof("NO", "ONE")
        real_redis.replicaof("127.0.0.1", str(other.port))
        try:
            network.target = other.port  # as a name does that now leads elsewhere; what is open stays where it is
            with pytest.raises(QueueUnavailable, match=r"READONLY.*: nothing was changed"):
                call(remote_client)
            call(remote_client)
        finally:
            real_redis.replicaof("NO", "ONE")


def test_a_killed_redis_keeps_what_it_accepted_and_no_call_hangs(tmp_path: Path) -> None:
    accepted: list[str] = []
    unavailable = threading.Semaphore(0)
    over = threading.Event()

    def produce(client: Client) -> None:
        while not over.is_set():
            try:
                accepted.extend(job.id for job in client.enqueue_many(commands(3)))
            except QueueUnavailable:
                unavailable.release()
                over.wait(0.02)

    def await_accepted(count: int) -> None:
        eventually(lambda: len(accepted) >= count, f"{count} jobs accepted", HANGS_S)

    with (
        ExitStack() as stack,
        ThreadPoolExecutor(4) as pool,
        redis_server(*SURVIVES_A_KILL, folder=tmp_path) as server,
        Client(server.url, timeout=BRIEF) as client,
    ):
        stack.callback(over.set)
        producers = [pool.submit(produce, client) for _ in range(4)]
        running = server
        for _ in range(3):
            await_accepted(len(accepted) + 200)
            running.process.kill()
            running.process.wait()
            assert all(unavailable.acquire(timeout=HANGS_S) for _ in range(8))
            running = stack.enter_context(redis_server(*SURVIVES_A_KILL, folder=tmp_path, port=server.port))
        await_accepted(len(accepted) + 200)
        over.set()
        for producer in producers:
            producer.result(HANGS_S)  # raises any error except QueueUnavailable
        with running.client() as redis:
            content = everything_in(redis)
        assert [job_id for job_id in accepted if job_id.encode() not in content] == []
