"""The asyncio client against a real worker: it gives the same answers and never blocks the event loop."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from streamstop import (
    AsyncClient,
    Command,
    NotCancellable,
    OutcomeTimeout,
    Result,
    ShutdownStatus,
    UnknownAccount,
    UnknownShutdown,
)
from streamstop.operations import StopMPUTask, StopPublishCdnStream
from tests.support.world import ALIYUN, TENCENT, World

TIMEOUT = 60


def stops(name: str, count: int) -> list[Command]:
    return [Command(operation=StopMPUTask(app_id=name, task_id=f"t-{n}"), account=ALIYUN) for n in range(count)]


def slow_stops(name: str, count: int) -> list[Command]:
    tasks = (StopPublishCdnStream(sdk_app_id=1, task_id=f"{name}-{n}") for n in range(count))
    return [Command(operation=task, account=TENCENT) for task in tasks]


def run(world: World, service: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with AsyncClient(world.server.url) as client:
            await service(client)

    asyncio.run(main())


def start(world: World, commands: list[Command]) -> list[Command]:
    for account in {command.account for command in commands}:
        world.simulator.start_tasks(account, [c.operation for c in commands if c.account == account])
    return commands


def test_jobs_are_enqueued_and_their_outcomes_come_as_they_end(shared_world: World) -> None:
    first, *others = start(shared_world, stops("jobs", 4))

    async def service(client: AsyncClient) -> None:
        job = await client.enqueue(first.operation, account=ALIYUN)
        jobs = await client.enqueue_many(others)
        assert (await job.outcome(TIMEOUT)).result is Result.STOPPED
        ended = [outcome.job_id async for outcome in client.outcomes([job, *jobs], TIMEOUT)]
        assert sorted(ended) == sorted(one.id for one in [job, *jobs])
        assert await client.job(job.id).peek() == await job.outcome()
        with pytest.raises(NotCancellable):
            await job.cancel()

    run(shared_world, service)


def test_a_job_that_waits_in_its_lane_is_cancelled(shared_world: World) -> None:
    commands = start(shared_world, slow_stops("taken-back", 3))

    async def service(client: AsyncClient) -> None:
        jobs = await client.enqueue_many(commands)
        assert (await jobs[-1].cancel()).result is Result.CANCELLED
        with pytest.raises(OutcomeTimeout):
            await jobs[-2].outcome(timeout=0)
        for job in jobs:
            assert (await job.cancel()).result is Result.CANCELLED

    with shared_world.paused():
        run(shared_world, service)


def test_a_room_is_closed_and_watched_to_its_end(shared_world: World) -> None:
    registered, passed, late = stops("room", 12), stops("passed", 3), stops("late", 1)
    start(shared_world, registered + passed + late)

    async def service(client: AsyncClient) -> None:
        assert await client.register_many("room", registered) is None
        assert await client.register("room", registered[0].operation, account=ALIYUN) is None
        assert await client.unregister("room", registered[-1].operation, account=ALIYUN)
        assert len((await client.room("room")).tasks) == 11
        with shared_world.paused():  # so that the shutdown is still open
            shutdown = await client.stop_room("room", passed)
            assert await client.stop_room("room") == shutdown
            assert await client.register("room", late[0].operation, account=ALIYUN) == shutdown
        seen = [progress async for progress in shutdown.watch(TIMEOUT)]
        assert (seen[-1].status, seen[-1].results) == (ShutdownStatus.DONE, {Result.STOPPED: 15})
        assert [progress.ended for progress in seen] == sorted(progress.ended for progress in seen)
        assert (await client.shutdown(shutdown.id).wait(TIMEOUT)).results == (await shutdown.progress()).results
        outcomes = [outcome async for outcome in shutdown.outcomes()]
        assert len({outcome.job_id for outcome in outcomes}) == 15
        assert not await shutdown.cancel()
        assert await client.reopen_room("room")

    run(shared_world, service)


def test_a_shutdown_is_cancelled_while_another_coroutine_watches_it(shared_world: World) -> None:
    commands = start(shared_world, slow_stops("cancelled", 100))

    async def service(client: AsyncClient) -> None:
        shutdown = await client.stop_room("cancelled", commands)
        with pytest.raises(OutcomeTimeout):
            await shutdown.wait(timeout=0)
        waiting = asyncio.create_task(shutdown.wait(TIMEOUT))
        assert await shutdown.cancel()
        progress = await waiting
        assert (progress.status, progress.ended) == (ShutdownStatus.CANCELLED, 100)

    with shared_world.paused():
        run(shared_world, service)


def test_other_coroutines_run_while_one_waits_for_news(shared_world: World) -> None:
    commands = start(shared_world, slow_stops("loop", 20))
    order: list[str] = []  # "other" once between two pieces of news, however often it ran

    async def other() -> None:
        while True:
            if order[-1:] != ["other"]:
                order.append("other")
            await asyncio.sleep(0)

    async def service(client: AsyncClient) -> None:
        nonlocal order
        await client.pause("all")  # so that the first news is not the last
        shutdown = await client.stop_room("loop", commands)
        running = asyncio.create_task(other())
        async for _ in shutdown.watch(TIMEOUT):
            order += ["news"]
            if order.count("news") == 1:
                assert await client.resume("all")
        running.cancel()

    run(shared_world, service)
    news = order.count("news")
    assert news > 1
    assert order[: 2 * news] == ["other", "news"] * news


def test_errors_are_those_of_the_blocking_client(shared_world: World) -> None:
    shared_world.await_account(ALIYUN)

    async def service(client: AsyncClient) -> None:
        with pytest.raises(UnknownAccount):
            await client.stop_room("errors", [Command(operation=stops("a", 1)[0].operation, account="nobody")])
        with pytest.raises(UnknownShutdown):
            await client.shutdown("nothing").progress()

    run(shared_world, service)


SCRIPT = """
import asyncio, sys
from streamstop import AsyncClient

async def main():
    async with AsyncClient(sys.argv[1]) as client:
        job = client.job("demo-tencent.trtc.StopWebRecord." + "0" * 32)
        for waiting in (job.outcome(), anext(client.outcomes([job]))):
            try:
                await asyncio.wait_for(waiting, 0.2)
            except TimeoutError:
                print("given up")

asyncio.run(main())
"""


def test_a_process_ends_though_waits_without_a_timeout_were_given_up(shared_world: World) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, shared_world.server.url],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\ngiven up\n", "")
