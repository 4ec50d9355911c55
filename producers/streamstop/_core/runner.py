"""Runner: runs the blocking calls of a client for asyncio. An AsyncClient and its handles share one."""

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar, cast

from streamstop._core.backend import WaitInterval
from streamstop.errors import QueueUnavailable

_T = TypeVar("_T")

_OVER: Final = object()


class Runner(ABC):
    """Runs the blocking calls, and the steps of the waits, of one client."""

    @abstractmethod
    async def call(self, call: Callable[[], _T]) -> _T:
        """Run a call that ends soon."""

    @abstractmethod
    async def step(self, call: Callable[[], _T]) -> _T:
        """Run one step of a wait."""

    @abstractmethod
    async def close(self) -> None:
        """Wait for what runs, and release the threads, if there are any."""

    async def iterate(self, steps: Iterator[_T | WaitInterval]) -> AsyncGenerator[_T, None]:
        """Yield what `steps` yields. Where a step pauses, the event loop waits."""
        closing = cast("Generator[object, None, None]", steps)
        is_given_up = False

        def run() -> object:
            result = next(steps, _OVER)
            if is_given_up:  # while this step ran
                closing.close()
            return result

        try:
            while (step := await self.step(run)) is not _OVER:
                if isinstance(step, WaitInterval):
                    await _pass(step)
                else:
                    yield cast("_T", step)
        finally:
            is_given_up = True
            with suppress(ValueError):  # a step still runs, and closes them
                closing.close()


class ThreadRunner(Runner):
    """Runs calls and steps in threads of its own, so that the event loop never waits for Redis.

    Waits have separate threads, so that enqueueing never queues behind them. A wait holds no thread while it pauses.
    """

    def __init__(self, timeout: timedelta) -> None:
        self._timeout = timeout
        self._calls = ThreadPoolExecutor(max_workers=8, thread_name_prefix="streamstop")
        self._steps = ThreadPoolExecutor(max_workers=8, thread_name_prefix="streamstop-wait")
        self._failed_at, self._failure = -math.inf, ""

    async def call(self, call: Callable[[], _T]) -> _T:
        """Run a call that ends soon."""
        in_context = partial(copy_context().run, call)  # the caller's trace is in it
        return await self._in_thread(self._calls, in_context, "nothing was sent")

    async def step(self, call: Callable[[], _T]) -> _T:
        """Run one step of a wait."""
        return await self._in_thread(self._steps, call, "what was waited for goes on; wait for it again")

    async def close(self) -> None:
        """Wait for what runs, and release the threads. Steps that have not begun are cancelled, calls are not."""
        await asyncio.to_thread(self._steps.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._calls.shutdown)

    async def _in_thread(self, threads: ThreadPoolExecutor, call: Callable[[], _T], consequence: str) -> _T:
        """Run a call in one of `threads`.

        If Redis failed while the call waited for a thread, and that took longer than the timeout, the call fails
        without a wait of its own.
        """
        asked_at = time.monotonic()

        def run() -> _T:
            waited = time.monotonic() - asked_at
            if self._failed_at > asked_at and waited > self._timeout.total_seconds():
                raise QueueUnavailable(f"{self._failure}: {consequence}", reason=self._failure)
            try:
                result = call()
            except QueueUnavailable as error:
                self._failed_at, self._failure = time.monotonic(), error.reason or str(error)
                raise
            self._failed_at = -math.inf
            return result

        return await asyncio.get_running_loop().run_in_executor(threads, run)


async def _pass(pause: WaitInterval) -> None:
    """Wait in the event loop until a pause is over."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def end(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(over.set)

    pause.news.add_done_callback(end)
    with suppress(TimeoutError):
        # Not with asyncio.wait_for: before Python 3.12 it can swallow a cancellation that comes with the news.
        async with asyncio.timeout(pause.seconds):
            await over.wait()
