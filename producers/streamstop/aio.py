"""AsyncClient: the same client for asyncio services.

Thin over :class:`~streamstop.client.Client`: each call runs the blocking one in a thread of the client's own, so the
event loop never waits for Redis and there is no second copy of the logic. A wait takes a thread for each of its steps,
and none between them.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar, cast

from streamstop._core.backend import Pause
from streamstop._core.commands import Command
from streamstop._core.letters import DeadLetter, Matching
from streamstop._core.progress import Progress, RoomView, ShutdownStatus
from streamstop.aio_operating import AsyncOperating
from streamstop.client import Client
from streamstop.dead_letters import DeadLetters
from streamstop.errors import OutcomeTimeout, QueueUnavailable
from streamstop.jobs import Job
from streamstop.operations import Operation
from streamstop.outcomes import Deferral, Outcome
from streamstop.shutdowns import Shutdown

_T = TypeVar("_T")

_OVER: Final = object()

#: How many outcomes of a shutdown, or dead letters, one step to a thread brings.
_PAGE = 1000
_ALL = Matching()


@dataclass(frozen=True)
class AsyncJob:
    """A command in the queue; see :class:`~streamstop.client.Job`."""

    job: Job
    _client: "AsyncClient"

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    async def outcome(self, timeout: float | timedelta | None = None) -> Outcome:
        """Wait until the job has ended; see :meth:`streamstop.client.Job.outcome`."""
        async with aclosing(self._client.outcomes([self], timeout)) as outcomes:
            async for outcome in outcomes:
                return outcome
        raise OutcomeTimeout(f"job {self.id} is still open")

    async def peek(self) -> Outcome | Deferral | None:
        """See :meth:`streamstop.client.Job.peek`."""
        return await self._client.calling(self.job.peek)

    async def cancel(self) -> Outcome:
        """See :meth:`streamstop.client.Job.cancel`."""
        return await self._client.calling(self.job.cancel)


@dataclass(frozen=True)
class AsyncShutdown:
    """One bulk stop of a room; see :class:`~streamstop.shutdowns.Shutdown`."""

    shutdown: Shutdown
    _client: "AsyncClient"

    @property
    def id(self) -> str:
        """The shutdown's id."""
        return self.shutdown.id

    async def progress(self) -> Progress:
        """See :meth:`streamstop.shutdowns.Shutdown.progress`."""
        return await self._client.calling(self.shutdown.progress)

    async def watch(self, timeout: float | timedelta | None = None) -> AsyncGenerator[Progress, None]:
        """See :meth:`streamstop.shutdowns.Shutdown.watch`."""
        steps = self.shutdown._watching(timeout)  # noqa: SLF001
        async with aclosing(self._client.stepping(steps)) as watching:
            async for progress in watching:
                yield progress

    async def wait(self, timeout: float | timedelta | None = None) -> Progress:
        """See :meth:`streamstop.shutdowns.Shutdown.wait`."""
        async with aclosing(self.watch(timeout)) as watching:
            async for progress in watching:
                if progress.status is not ShutdownStatus.OPEN:
                    return progress
        raise OutcomeTimeout(f"shutdown {self.id} is still open")

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """See :meth:`streamstop.shutdowns.Shutdown.outcomes`."""
        outcomes = self.shutdown.outcomes()
        while page := await self._client.calling(lambda: list(islice(outcomes, _PAGE))):
            for outcome in page:
                yield outcome

    async def cancel(self) -> bool:
        """See :meth:`streamstop.shutdowns.Shutdown.cancel`."""
        return await self._client.calling(self.shutdown.cancel)


@dataclass(frozen=True)
class AsyncDeadLetters:
    """What ended so that a person must look; see :class:`~streamstop.dead_letters.DeadLetters`."""

    _client: "AsyncClient"

    async def count(self) -> int:
        """See :meth:`streamstop.dead_letters.DeadLetters.count`."""
        return await self._client.calling(self._dead.count)

    async def letters(self, matching: Matching = _ALL) -> AsyncGenerator[DeadLetter, None]:
        """See :meth:`streamstop.dead_letters.DeadLetters.letters`."""
        letters = self._dead.letters(matching)
        while page := await self._client.calling(lambda: list(islice(letters, _PAGE))):
            for letter in page:
                yield letter

    async def get(self, letter_id: str) -> DeadLetter:
        """See :meth:`streamstop.dead_letters.DeadLetters.get`."""
        return await self._client.calling(partial(self._dead.get, letter_id))

    async def requeue(self, letter_id: str) -> AsyncJob:
        """See :meth:`streamstop.dead_letters.DeadLetters.requeue`."""
        return AsyncJob(await self._client.calling(partial(self._dead.requeue, letter_id)), self._client)

    async def drop(self, letter_id: str) -> None:
        """See :meth:`streamstop.dead_letters.DeadLetters.drop`."""
        await self._client.calling(partial(self._dead.drop, letter_id))

    @property
    def _dead(self) -> DeadLetters:
        return self._client.client.dead_letters


class AsyncClient(AsyncOperating):
    """Enqueues commands, closes rooms, and reads outcomes, from asyncio.

    Arguments as :class:`~streamstop.client.Client`.
    """

    def __init__(self, url: str | None = None, *, timeout: float | timedelta | None = None) -> None:
        self.client = Client(url, timeout=timeout)
        # Waits have threads of their own, so that enqueueing never queues behind them. None holds one while it pauses.
        self._calls = ThreadPoolExecutor(max_workers=8, thread_name_prefix="streamstop")
        self._waits = ThreadPoolExecutor(max_workers=8, thread_name_prefix="streamstop-wait")
        self._failed_at, self._failed_for = -math.inf, ""

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.calling(self.client.close)
        self._calls.shutdown(wait=False)
        self._waits.shutdown(wait=False, cancel_futures=True)

    async def enqueue(
        self,
        operation: Operation,
        *,
        account: str,
        priority: int = 0,
        expires_in: float | timedelta | None = None,
        unique: bool = False,
    ) -> AsyncJob:
        """See :meth:`streamstop.client.Client.enqueue`."""
        enqueue = self.client.enqueue
        call = partial(enqueue, operation, account=account, priority=priority, expires_in=expires_in, unique=unique)
        return AsyncJob(await self.calling(call), self)

    async def enqueue_many(self, commands: Iterable[Command], *, unique: bool = False) -> list[AsyncJob]:
        """See :meth:`streamstop.client.Client.enqueue_many`."""
        jobs = await self.calling(partial(self.client.enqueue_many, list(commands), unique=unique))
        return [AsyncJob(job, self) for job in jobs]

    def job(self, job_id: str) -> AsyncJob:
        """See :meth:`streamstop.client.Client.job`."""
        return AsyncJob(self.client.job(job_id), self)

    async def outcomes(
        self, jobs: Sequence[AsyncJob], timeout: float | timedelta | None = None
    ) -> AsyncGenerator[Outcome, None]:
        """See :meth:`streamstop.client.Client.outcomes`."""
        steps = self.client._outcomes([job.job for job in jobs], timeout)  # noqa: SLF001
        async with aclosing(self.stepping(steps)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def register(self, room: str, operation: Operation, *, account: str) -> AsyncShutdown | None:
        """See :meth:`streamstop.client.Client.register`."""
        return self._joined(await self.calling(partial(self.client.register, room, operation, account=account)))

    async def register_many(self, room: str, commands: Iterable[Command]) -> AsyncShutdown | None:
        """See :meth:`streamstop.client.Client.register_many`."""
        return self._joined(await self.calling(partial(self.client.register_many, room, list(commands))))

    async def unregister(self, room: str, operation: Operation, *, account: str) -> bool:
        """See :meth:`streamstop.client.Client.unregister`."""
        return await self.calling(partial(self.client.unregister, room, operation, account=account))

    async def room(self, room: str) -> RoomView:
        """See :meth:`streamstop.client.Client.room`."""
        return await self.calling(partial(self.client.room, room))

    async def stop_room(
        self,
        room: str,
        commands: Iterable[Command] = (),
        *,
        verify: bool = False,
        callback: str | Mapping[str, Any] | None = None,
    ) -> AsyncShutdown:
        """See :meth:`streamstop.client.Client.stop_room`."""
        call = partial(self.client.stop_room, room, list(commands), verify=verify, callback=callback)
        return AsyncShutdown(await self.calling(call), self)

    async def reopen_room(self, room: str) -> bool:
        """See :meth:`streamstop.client.Client.reopen_room`."""
        return await self.calling(partial(self.client.reopen_room, room))

    def shutdown(self, shutdown_id: str) -> AsyncShutdown:
        """See :meth:`streamstop.client.Client.shutdown`."""
        return AsyncShutdown(self.client.shutdown(shutdown_id), self)

    @property
    def dead_letters(self) -> AsyncDeadLetters:
        """See :attr:`streamstop.client.Client.dead_letters`."""
        return AsyncDeadLetters(self)

    def _joined(self, shutdown: Shutdown | None) -> AsyncShutdown | None:
        return None if shutdown is None else AsyncShutdown(shutdown, self)

    async def stepping(self, steps: Iterator[_T | Pause]) -> AsyncGenerator[_T, None]:
        """Yield what `steps` yields. Each step runs in a thread; where one pauses, the event loop waits."""
        closing = cast("Generator[object, None, None]", steps)
        is_given_up = False

        def run() -> object:
            result = next(steps, _OVER)
            if is_given_up:  # while this step ran
                closing.close()
            return result

        try:
            while (step := await self.waiting(run)) is not _OVER:
                if isinstance(step, Pause):
                    await _pass(step)
                else:
                    yield cast("_T", step)
        finally:
            is_given_up = True
            with suppress(ValueError):  # a step runs still, and closes them
                closing.close()

    async def calling(self, call: Callable[[], _T]) -> _T:
        """Run a call that is soon over in a thread."""
        return await self._in_thread(self._calls, call, "nothing was sent")

    async def waiting(self, call: Callable[[], _T]) -> _T:
        """Run a step of a wait in a thread."""
        return await self._in_thread(self._waits, call, "what was waited for goes on; wait for it again")

    async def _in_thread(self, threads: ThreadPoolExecutor, call: Callable[[], _T], consequence: str) -> _T:
        """Run a call in one of `threads`.

        Where Redis is away, those that have waited their time for a thread fail without a wait of their own.
        """
        asked_at = time.monotonic()

        def run() -> _T:
            waited = time.monotonic() - asked_at
            if self._failed_at > asked_at and waited > self.client.timeout.total_seconds():
                raise QueueUnavailable(f"{self._failed_for}: {consequence}", reason=self._failed_for)
            try:
                result = call()
            except QueueUnavailable as error:
                self._failed_at, self._failed_for = time.monotonic(), error.reason or str(error)
                raise
            self._failed_at = -math.inf
            return result

        return await asyncio.get_running_loop().run_in_executor(threads, run)


async def _pass(pause: Pause) -> None:
    """Wait in the event loop until a pause is over."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def end(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(over.set)

    pause.news.add_done_callback(end)
    with suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), pause.seconds)
