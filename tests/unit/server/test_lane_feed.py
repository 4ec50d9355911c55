"""The lanes that all viewers share: how often they are read, and who is told."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime

import pytest

from streamstop import AsyncClient, Controls, LaneView, QueueUnavailable
from streamstop_server.page import lane_feed
from streamstop_server.page.lane_feed import LaneFeed, LanesNow

SOON_S = 20
EVERY_S = 0.05


class Source(AsyncClient):
    """Has one lane, and counts its reads; a read lasts until the gate is open."""

    def __init__(self) -> None:
        self.reads = 0
        self.account = "a"
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def lanes(self, *_: object, **__: object) -> list[LaneView]:
        self.reads += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return [LaneView(account=self.account, operation="live.StopMPUTask", at=datetime.now(UTC))]

    async def controls(self) -> Controls:
        return Controls({}, {}, {})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_feed, "EVERY_S", EVERY_S)
    monkeypatch.setattr(lane_feed, "PATIENCE_S", 0.01)
    monkeypatch.setattr(lane_feed, "STEP_S", 3600)


def run(test: Callable[[Source, LaneFeed], Coroutine[None, None, None]]) -> None:
    async def running() -> None:
        source = Source()
        async with asyncio.timeout(SOON_S), LaneFeed(source) as feed:
            await test(source, feed)

    asyncio.run(running())


async def changed(feed: LaneFeed) -> None:
    assert await feed.change(feed.version, SOON_S)


def account(now: LanesNow) -> str:
    [view] = now.views
    return view.account


def test_many_viewers_cost_one_read() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        assert [*map(account, await asyncio.gather(*(feed.latest() for _ in range(20))))] == ["a"] * 20
        assert source.reads == 1

    run(test)


def test_a_slow_read_does_not_keep_a_viewer_who_can_have_the_last_value() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        assert account(await feed.latest()) == "a"
        source.gate.clear()
        source.account = "b"
        await asyncio.sleep(EVERY_S)
        assert account(await feed.latest()) == "a"
        refreshing = asyncio.create_task(feed.refresh())
        source.gate.set()
        assert account(await refreshing) == "b"

    run(test)


def test_after_an_act_the_value_is_read_anew_though_a_read_is_under_way() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        await feed.latest()
        source.gate.clear()
        under_way = asyncio.create_task(feed.refresh())
        await asyncio.sleep(0)
        refreshing = asyncio.create_task(feed.refresh())
        await asyncio.sleep(0)
        source.account = "after the act"
        source.gate.set()
        assert account(await refreshing) == "after the act"
        await under_way

    run(test)


def test_followers_are_told_of_each_change_and_of_nothing_else() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        async with feed.follow():
            source.account = "b"
            await changed(feed)
            assert account(await feed.latest()) == "b"
            before, waiting = source.reads, asyncio.ensure_future(changed(feed))
            while source.reads < before + 3:
                await asyncio.sleep(0.01)
            assert not waiting.done()
            source.account = "c"
            await waiting

    run(test)


def test_a_failure_leaves_the_last_value_and_is_told() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        assert (account(await feed.latest()), feed.problem) == ("a", "")
        async with feed.follow():
            source.failure = QueueUnavailable("Redis did not answer", reason="Redis did not answer")
            await changed(feed)
            assert (account(await feed.latest()), feed.problem) == ("a", "Redis did not answer")
            source.failure = None
            await changed(feed)
            assert feed.problem == ""

    run(test)


def test_what_was_never_read_is_the_failure_itself() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        source.failure = QueueUnavailable("Redis did not answer", reason="Redis did not answer")
        with pytest.raises(QueueUnavailable):
            await feed.latest()

    run(test)


def test_a_bug_in_a_read_does_not_end_the_reads() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        async with feed.follow():
            source.failure = RuntimeError("a bug")
            while feed.problem != "a bug":
                await changed(feed)
            source.failure = None
            await changed(feed)
            assert account(await feed.latest()) == "a"

    run(test)


def test_without_followers_it_is_read_seldom() -> None:
    async def test(source: Source, feed: LaneFeed) -> None:
        async with feed.follow():
            while source.reads < 3:
                await asyncio.sleep(0.01)
        await feed.refresh()
        reads = source.reads
        await asyncio.sleep(5 * EVERY_S)
        assert source.reads <= reads + 1, "the pause before it may have begun while somebody followed"

    run(test)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane_feed, "STEP_S", 0.02)
        run(reads_go_on)


async def reads_go_on(source: Source, feed: LaneFeed) -> None:
    while source.reads < 3:
        await asyncio.sleep(0.01)
