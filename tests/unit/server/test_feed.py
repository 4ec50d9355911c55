"""A value that all viewers share: how often it is read, and who is told."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing

import pytest

from streamstop import QueueUnavailable
from streamstop_server.page import feed as feeds
from streamstop_server.page.feed import Feed


class Source:
    """Counts its reads; a read lasts until the gate is open."""

    def __init__(self) -> None:
        self.reads = 0
        self.value = "a"
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> tuple[str, object]:
        self.reads += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.value, self.value


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "EVERY_S", 0.05)
    monkeypatch.setattr(feeds, "PATIENCE_S", 0.01)


def run(test: Callable[[Source, Feed[str]], Coroutine[None, None, None]], *, idle_s: float = 3600) -> None:
    async def running() -> None:
        source = Source()
        feed = Feed(source.read, idle_s=idle_s)
        try:
            async with asyncio.timeout(20):
                await test(source, feed)
        finally:
            await feed.close()

    asyncio.run(running())


def test_many_viewers_cost_one_read() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        assert await asyncio.gather(*(feed.latest() for _ in range(20))) == ["a"] * 20
        assert source.reads == 1

    run(test)


def test_a_slow_read_does_not_keep_a_viewer_who_can_have_the_last_value() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        assert await feed.latest() == "a"
        source.gate.clear()
        source.value = "b"
        await asyncio.sleep(feeds.EVERY_S)
        assert await feed.latest() == "a"
        refreshing = asyncio.create_task(feed.refresh())
        source.gate.set()
        assert await refreshing == "b"

    run(test)


def test_after_an_act_the_value_is_read_anew_though_a_read_is_under_way() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        await feed.latest()
        source.gate.clear()
        under_way = asyncio.create_task(feed.refresh())
        await asyncio.sleep(0)
        refreshing = asyncio.create_task(feed.refresh())
        await asyncio.sleep(0)
        source.value = "after the act"
        source.gate.set()
        assert await refreshing == "after the act"
        await under_way

    run(test)


def test_watchers_are_told_of_each_change_and_of_nothing_else() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        async with aclosing(feed.changes()) as changes:
            await anext(changes)
            source.value = "b"
            await anext(changes)
            assert await feed.latest() == "b"
            before, waiting = source.reads, asyncio.ensure_future(anext(changes))
            while source.reads < before + 3:
                await asyncio.sleep(0.01)
            assert not waiting.done()
            source.value = "c"
            await waiting

    run(test)


def test_a_failure_leaves_the_last_value_and_is_told() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        assert (await feed.latest(), feed.problem) == ("a", "")
        async with aclosing(feed.changes()) as changes:
            await anext(changes)
            source.failure = QueueUnavailable("Redis did not answer", reason="Redis did not answer")
            await anext(changes)
            assert (await feed.latest(), feed.problem) == ("a", "Redis did not answer")
            source.failure = None
            await anext(changes)
            assert feed.problem == ""

    run(test)


def test_what_was_never_read_is_the_failure_itself() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        source.failure = QueueUnavailable("Redis did not answer", reason="Redis did not answer")
        with pytest.raises(QueueUnavailable):
            await feed.latest()

    run(test)


def test_a_bug_in_a_read_does_not_end_the_reads() -> None:
    async def test(source: Source, feed: Feed[str]) -> None:
        async with aclosing(feed.changes()) as changes:
            await anext(changes)
            source.failure = RuntimeError("a bug")
            while feed.problem != "a bug":
                await anext(changes)
            source.failure = None
            await anext(changes)
            assert await feed.latest() == "a"

    run(test)


def test_without_watchers_it_is_read_seldom_or_only_when_asked_for() -> None:
    async def seldom(source: Source, feed: Feed[str]) -> None:
        while source.reads < 3:
            await asyncio.sleep(0.01)

    run(seldom, idle_s=0.02)

    async def never(source: Source, feed: Feed[str]) -> None:
        async with aclosing(feed.changes()) as changes:
            await anext(changes)
            while source.reads < 3:
                await asyncio.sleep(0.01)
        await feed.refresh()  # the read under way is over
        reads = source.reads
        await asyncio.sleep(3 * feeds.EVERY_S)
        assert source.reads == reads

    run(never, idle_s=float("inf"))
