"""The events in memory: read once for everybody, whole, in order, and there while Redis is not."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from datetime import UTC, datetime

import pytest

from streamstop import AsyncClient, Event, QueueUnavailable
from streamstop._core.journal import event_order
from streamstop_server.waiting.event_log import EventLog

SOON_S = 20
AWAY = QueueUnavailable("Redis did not answer", reason="Redis did not answer")


class Source(AsyncClient):
    """Redis' events, and how often they were read."""

    def __init__(self) -> None:
        self.written: list[Event] = []
        self.reads = self.follows = 0
        self.failure: Exception | None = None
        self.news = asyncio.Event()

    def write(self, *ids: str) -> None:
        self.written += [Event(id=each, at=datetime.now(UTC), kind="resting") for each in ids]
        self.news.set()

    def fail(self, failure: Exception | None) -> None:
        self.failure = failure
        self.news.set()

    async def events(self, *, after: str | None = None, **_: object) -> list[Event]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return [each for each in self.written if event_order(each.id) > event_order(after or "0-0")]

    async def follow_events(self, *, after: str | None = None, **_: object) -> AsyncGenerator[Event, None]:
        self.follows += 1
        while True:
            for event in await self.events(after=after):
                after = event.id
                yield event
            self.news.clear()
            await self.news.wait()


def run(test: Callable[[Source, EventLog], Coroutine[None, None, None]]) -> None:
    async def running() -> None:
        async with asyncio.timeout(SOON_S):
            source = Source()
            await test(source, EventLog(source))

    asyncio.run(running())


def ids(events: Iterable[Event]) -> list[str]:
    return [event.id for event in events]


def test_who_looks_finds_what_has_happened_since_the_last_look() -> None:
    async def test(source: Source, log: EventLog) -> None:
        source.write("9-0", "9-1")
        for events, _ in await asyncio.gather(log.latest(), log.latest()):
            assert ids(events) == ["9-1", "9-0"]
        source.write("10-0")
        events, problem = await log.latest()
        assert (ids(events), problem) == (["10-0", "9-1", "9-0"], "")
        assert source.follows == 0

    run(test)


def test_all_followers_share_one_reader_which_serves_screens_too() -> None:
    async def test(source: Source, log: EventLog) -> None:
        source.write("1-0")
        async with log.follow(), log.follow():
            version, seen = log.version, log.newest
            source.write("2-0")
            assert await log.change(version, SOON_S)
            assert [each.event.id for each in log.after(seen)] == ["2-0"]
            reads = source.reads
            events, _ = await log.latest()
            assert ids(events) == ["2-0", "1-0"]
            assert (source.reads, source.follows) == (reads, 1)
        assert not log.is_read

    run(test)


def test_a_change_between_a_look_and_the_wait_is_not_missed() -> None:
    async def test(source: Source, log: EventLog) -> None:
        async with log.follow():
            version = log.version
            source.write("1-0")
            while log.version == version:
                await asyncio.sleep(0)
            assert await log.change(version, 0)
            assert not await log.change(log.version, 0)

    run(test)


def test_a_failure_is_told_to_followers_and_the_next_follower_goes_on() -> None:
    async def test(source: Source, log: EventLog) -> None:
        source.write("1-0")
        async with log.follow():
            source.fail(AWAY)
            while log.is_read:
                await asyncio.sleep(0)
            with pytest.raises(QueueUnavailable):
                await log.change(log.version, SOON_S)
            source.write("2-0")
            events, problem = await log.latest()
            assert (ids(events), problem) == (["1-0"], "Redis did not answer")
            with pytest.raises(QueueUnavailable):
                async with log.follow():
                    pass
            source.fail(None)
            async with log.follow():
                assert [each.event.id for each in log.after((1, 0))] == ["2-0"]
                version = log.version
                source.write("3-0")
                assert await log.change(version, SOON_S)
        assert (await log.latest())[1] == ""

    run(test)


def test_a_read_that_fails_fails_for_all_who_wait_for_it_and_for_nobody_later() -> None:
    async def test(source: Source, log: EventLog) -> None:
        source.fail(QueueUnavailable("Redis did not answer"))
        looks = await asyncio.gather(*(log.latest() for _ in range(9)), return_exceptions=True)
        assert [type(look) for look in looks] == [QueueUnavailable] * 9
        assert source.reads == 1
        source.write("1-0")
        source.fail(None)
        assert ids((await log.latest())[0]) == ["1-0"]

    run(test)


def test_what_was_never_read_is_the_failure_itself() -> None:
    async def test(source: Source, log: EventLog) -> None:
        source.fail(AWAY)
        with pytest.raises(QueueUnavailable):
            await log.latest()

    run(test)
