"""The end of the process: what waits returns at once, and nothing else is changed by it."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from streamstop_server.waiting.ending import Ending

SOON_S = 20


def run(test: Callable[[Ending], Coroutine[None, None, None]]) -> None:
    async def running() -> None:
        async with asyncio.timeout(SOON_S):
            await test(Ending())

    asyncio.run(running())


def test_calls_that_wait_are_cancelled_at_the_end() -> None:
    async def test(ending: Ending) -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def wait() -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return "over"

        bounded = asyncio.create_task(ending.bounded(wait(), "the process ends"))
        await begun.wait()
        ending.begin()
        ending.begin()
        assert await bounded == "the process ends"
        assert cancelled.is_set()
        assert await ending.bounded(wait(), "and later ones too") == "and later ones too"

    run(test)


def test_what_ends_by_itself_returns_what_it_returns() -> None:
    async def test(ending: Ending) -> None:
        async def fail() -> str:
            raise TimeoutError("its own")

        assert await ending.bounded(asyncio.sleep(0, "well"), "") == "well"
        with pytest.raises(TimeoutError, match="its own"):
            await ending.bounded(fail(), "")
        ending.begin()
        assert ending.has_begun

    run(test)


def test_a_waiting_call_can_be_cancelled_from_outside() -> None:
    async def test(ending: Ending) -> None:
        bounded = asyncio.create_task(ending.bounded(asyncio.Event().wait(), default=False))
        await asyncio.sleep(0)
        bounded.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bounded

    run(test)
