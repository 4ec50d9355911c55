"""AsyncClient: the same client for asyncio services.

Each method runs the method of :class:`~streamstop.client.Client` in a thread of the client's own, so the event loop
never waits for Redis and there is no second copy of the logic. A wait takes a thread for each of its steps, and none
between them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any

from streamstop._core.commands import Command
from streamstop._core.progress import OutcomePage, Progress, RoomPage, RoomView, ShutdownStatus
from streamstop._core.runner import Runner, ThreadRunner
from streamstop.aio_jobs import AsyncDeadLetters, AsyncJob
from streamstop.aio_operating import AsyncOperating
from streamstop.client import Client
from streamstop.errors import OutcomeTimeout
from streamstop.operations import Operation
from streamstop.outcomes import Outcome
from streamstop.shutdowns import Shutdown

#: How many outcomes of a shutdown one step to a thread brings.
_PAGE = 1000


@dataclass(frozen=True)
class AsyncShutdown:
    """One bulk stop of a room; see :class:`~streamstop.shutdowns.Shutdown`."""

    shutdown: Shutdown
    _runner: Runner

    @property
    def id(self) -> str:
        """The shutdown's id."""
        return self.shutdown.id

    async def progress(self) -> Progress:
        """See :meth:`streamstop.shutdowns.Shutdown.progress`."""
        return await self._runner.call(self.shutdown.progress)

    async def watch(self, timeout: float | timedelta | None = None) -> AsyncGenerator[Progress, None]:
        """See :meth:`streamstop.shutdowns.Shutdown.watch`."""
        steps = self.shutdown._watching(timeout)  # noqa: SLF001
        async with aclosing(self._runner.iterate(steps)) as watching:
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
        while page := await self._runner.call(lambda: list(islice(outcomes, _PAGE))):
            for outcome in page:
                yield outcome

    async def outcome_page(self, cursor: str | None = None, *, most: int = 100, attention: bool = False) -> OutcomePage:
        """See :meth:`streamstop.shutdowns.Shutdown.outcome_page`."""
        return await self._runner.call(partial(self.shutdown.outcome_page, cursor, most=most, attention=attention))

    async def accounts(self) -> frozenset[str]:
        """See :meth:`streamstop.shutdowns.Shutdown.accounts`."""
        return await self._runner.call(self.shutdown.accounts)

    async def cancel(self, *, by: str | None = None) -> bool:
        """See :meth:`streamstop.shutdowns.Shutdown.cancel`."""
        return await self._runner.call(partial(self.shutdown.cancel, by=by))


class AsyncClient(AsyncOperating):
    """Enqueues commands, closes rooms, and reads outcomes, from asyncio.

    Arguments as :class:`~streamstop.client.Client`.
    """

    def __init__(self, url: str | None = None, *, timeout: float | timedelta | None = None) -> None:
        self.client = Client(url, timeout=timeout)
        self._runner: Runner = ThreadRunner(self.client.timeout)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls that run, each at most the timeout, and close the connections.

        A call that is cancelled goes on in its thread, and would open connections again.
        """
        await self._runner.close()
        await asyncio.to_thread(self.client.close)

    async def enqueue(
        self,
        operation: Operation,
        *,
        account: str,
        priority: int = 0,
        expires_in: float | timedelta | None = None,
        unique: bool = False,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """See :meth:`streamstop.client.Client.enqueue`."""
        enqueue = partial(self.client.enqueue, operation, account=account, priority=priority, expires_in=expires_in)
        call = partial(enqueue, unique=unique, idempotency_key=idempotency_key)
        return AsyncJob(await self._runner.call(call), self._runner)

    async def enqueue_many(
        self,
        commands: Iterable[Command],
        *,
        unique: bool = False,
        idempotency_key: str | None = None,
        idempotency_namespace: str = "",
    ) -> list[AsyncJob]:
        """See :meth:`streamstop.client.Client.enqueue_many`."""
        enqueue = partial(self.client.enqueue_many, list(commands), unique=unique)
        call = partial(enqueue, idempotency_key=idempotency_key, idempotency_namespace=idempotency_namespace)
        jobs = await self._runner.call(call)
        return [AsyncJob(job, self._runner) for job in jobs]

    def job(self, job_id: str) -> AsyncJob:
        """See :meth:`streamstop.client.Client.job`."""
        return AsyncJob(self.client.job(job_id), self._runner)

    async def outcomes(
        self, jobs: Sequence[AsyncJob], timeout: float | timedelta | None = None
    ) -> AsyncGenerator[Outcome, None]:
        """See :meth:`streamstop.client.Client.outcomes`."""
        steps = self.client._outcomes([job.job for job in jobs], timeout)  # noqa: SLF001
        async with aclosing(self._runner.iterate(steps)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def register(self, room: str, operation: Operation, *, account: str) -> AsyncShutdown | None:
        """See :meth:`streamstop.client.Client.register`."""
        return self._joined(await self._runner.call(partial(self.client.register, room, operation, account=account)))

    async def register_many(self, room: str, commands: Iterable[Command]) -> AsyncShutdown | None:
        """See :meth:`streamstop.client.Client.register_many`."""
        return self._joined(await self._runner.call(partial(self.client.register_many, room, list(commands))))

    async def unregister(self, room: str, operation: Operation, *, account: str) -> bool:
        """See :meth:`streamstop.client.Client.unregister`."""
        return await self._runner.call(partial(self.client.unregister, room, operation, account=account))

    async def unregister_many(self, room: str, commands: Iterable[Command]) -> int:
        """See :meth:`streamstop.client.Client.unregister_many`."""
        return await self._runner.call(partial(self.client.unregister_many, room, list(commands)))

    async def room(self, room: str) -> RoomView:
        """See :meth:`streamstop.client.Client.room`."""
        return await self._runner.call(partial(self.client.room, room))

    async def room_page(self, room: str, cursor: str | None = None, *, most: int = 100) -> RoomPage:
        """See :meth:`streamstop.client.Client.room_page`."""
        return await self._runner.call(partial(self.client.room_page, room, cursor, most=most))

    async def room_accounts(self, room: str) -> frozenset[str]:
        """See :meth:`streamstop.client.Client.room_accounts`."""
        return await self._runner.call(partial(self.client.room_accounts, room))

    async def stop_room(
        self,
        room: str,
        commands: Iterable[Command] = (),
        *,
        verify: bool = False,
        callback: str | Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> AsyncShutdown:
        """See :meth:`streamstop.client.Client.stop_room`."""
        call = partial(self.client.stop_room, room, list(commands), verify=verify, callback=callback, by=by)
        return AsyncShutdown(await self._runner.call(call), self._runner)

    async def reopen_room(self, room: str) -> bool:
        """See :meth:`streamstop.client.Client.reopen_room`."""
        return await self._runner.call(partial(self.client.reopen_room, room))

    def shutdown(self, shutdown_id: str) -> AsyncShutdown:
        """See :meth:`streamstop.client.Client.shutdown`."""
        return AsyncShutdown(self.client.shutdown(shutdown_id), self._runner)

    async def recent_shutdowns(self, most: int = 100) -> list[AsyncShutdown]:
        """See :meth:`streamstop.client.Client.recent_shutdowns`."""
        shutdowns = await self._runner.call(partial(self.client.recent_shutdowns, most))
        return [AsyncShutdown(shutdown, self._runner) for shutdown in shutdowns]

    @property
    def dead_letters(self) -> AsyncDeadLetters:
        """See :attr:`streamstop.client.Client.dead_letters`."""
        return AsyncDeadLetters(self.client.dead_letters, self._runner)

    def _joined(self, shutdown: Shutdown | None) -> AsyncShutdown | None:
        return None if shutdown is None else AsyncShutdown(shutdown, self._runner)
