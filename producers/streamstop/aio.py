"""AsyncClient: the same client for asyncio services.

Thin over :class:`~streamstop.client.Client`: each call runs the blocking one in a thread of the client's own, so the
event loop never waits for Redis and there is no second copy of the logic.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from streamstop.client import Client
from streamstop.commands import Command
from streamstop.jobs import Job
from streamstop.operations import Operation
from streamstop.outcomes import Outcome
from streamstop.results import Deferral

_T = TypeVar("_T")

#: How many waits for outcomes can run at once; further ones queue. One wait takes any number of jobs.
MOST_WAITS = 64


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
        return await self._client.waiting(partial(self.job.outcome, timeout))

    async def peek(self) -> Outcome | Deferral | None:
        """See :meth:`streamstop.client.Job.peek`."""
        return await self._client.calling(self.job.peek)

    async def cancel(self) -> Outcome:
        """See :meth:`streamstop.client.Job.cancel`."""
        return await self._client.calling(self.job.cancel)


class AsyncClient:
    """Enqueues commands and reads their outcomes, from asyncio. Arguments as :class:`~streamstop.client.Client`."""

    def __init__(self, url: str | None = None, *, timeout: timedelta | None = None) -> None:
        self.client = Client(url, timeout=timeout)
        # Waits have threads of their own, so that enqueueing never queues behind them.
        self._calls = ThreadPoolExecutor(max_workers=8, thread_name_prefix="streamstop")
        self._waits = ThreadPoolExecutor(max_workers=MOST_WAITS, thread_name_prefix="streamstop-wait")

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
        self, operation: Operation, *, account: str, priority: int = 0, expires_in: timedelta | None = None
    ) -> AsyncJob:
        """See :meth:`streamstop.client.Client.enqueue`."""
        call = partial(self.client.enqueue, operation, account=account, priority=priority, expires_in=expires_in)
        return AsyncJob(await self.calling(call), self)

    async def enqueue_many(self, commands: Iterable[Command]) -> list[AsyncJob]:
        """See :meth:`streamstop.client.Client.enqueue_many`."""
        jobs = await self.calling(partial(self.client.enqueue_many, list(commands)))
        return [AsyncJob(job, self) for job in jobs]

    def job(self, job_id: str) -> AsyncJob:
        """See :meth:`streamstop.client.Client.job`."""
        return AsyncJob(self.client.job(job_id), self)

    async def outcomes(
        self, jobs: Sequence[AsyncJob], timeout: float | timedelta | None = None
    ) -> AsyncIterator[Outcome]:
        """See :meth:`streamstop.client.Client.outcomes`."""
        outcomes = self.client.outcomes([job.job for job in jobs], timeout=timeout)
        while (outcome := await self.waiting(partial(next, outcomes, None))) is not None:
            yield outcome

    async def calling(self, call: Callable[[], _T]) -> _T:
        """Run a call that is soon over in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._calls, call)

    async def waiting(self, call: Callable[[], _T]) -> _T:
        """Run a call that waits for outcomes in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._waits, call)
