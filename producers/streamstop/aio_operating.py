"""Operating from asyncio: what people on call see and do, as methods of :class:`~streamstop.aio.AsyncClient`."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any

from streamstop._core.controls import Controls, Hold, Limit, Pause
from streamstop._core.drained import Drained
from streamstop._core.findings import DIAGNOSIS_TIMEOUT, Diagnosis
from streamstop._core.journal import ErrorCount, Event
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView
from streamstop._core.runner import Runner
from streamstop._core.sightings import Sighting, Where
from streamstop._core.workers import WorkerView
from streamstop.client import Client


class AsyncOperating:
    """The methods of an asynchronous client for people on call; see :class:`~streamstop.operating.Operating`."""

    client: Client
    _runner: Runner

    async def accounts(self) -> Mapping[str, str]:
        """See :meth:`streamstop.client.Client.accounts`."""
        return await self._runner.call(self.client.accounts)

    # ---- lanes

    async def lanes(
        self,
        lanes: Iterable[Lane] | None = None,
        *,
        accounts: Iterable[str] | None = None,
        recent: bool = False,
        every: bool = False,
    ) -> list[LaneView]:
        """See :meth:`streamstop.client.Client.lanes`."""
        return await self._runner.call(partial(self.client.lanes, lanes, accounts=accounts, recent=recent, every=every))

    async def lane_jobs(
        self, lane: Lane, where: Where | str = Where.WAITING, *, first: int = 0, most: int = 50
    ) -> list[Sighting]:
        """See :meth:`streamstop.client.Client.lane_jobs`."""
        return await self._runner.call(partial(self.client.lane_jobs, lane, where, first=first, most=most))

    # ---- pauses, limits and holds

    async def pause(
        self, scope: str, *, lasting: float | timedelta | None = None, reason: str = "", by: str | None = None
    ) -> Pause:
        """See :meth:`streamstop.client.Client.pause`."""
        return await self._runner.call(partial(self.client.pause, scope, lasting=lasting, reason=reason, by=by))

    async def resume(self, scope: str, *, by: str | None = None) -> bool:
        """See :meth:`streamstop.client.Client.resume`."""
        return await self._runner.call(partial(self.client.resume, scope, by=by))

    async def controls(self) -> Controls:
        """See :meth:`streamstop.client.Client.controls`."""
        return await self._runner.call(self.client.controls)

    async def pauses(self) -> list[Pause]:
        """See :meth:`streamstop.client.Client.pauses`."""
        return await self._runner.call(self.client.pauses)

    async def holds(self) -> list[Hold]:
        """See :meth:`streamstop.client.Client.holds`."""
        return await self._runner.call(self.client.holds)

    async def set_limit(
        self,
        account: str,
        operation: str,
        limit: float,
        *,
        lasting: float | timedelta | None = None,
        reason: str = "",
        above_vendor: bool = False,
        by: str | None = None,
    ) -> Limit:
        """See :meth:`streamstop.client.Client.set_limit`."""
        call = partial(self.client.set_limit, account, operation, limit, lasting=lasting, reason=reason)
        return await self._runner.call(partial(call, above_vendor=above_vendor, by=by))

    async def clear_limit(self, account: str, operation: str, *, by: str | None = None) -> bool:
        """See :meth:`streamstop.client.Client.clear_limit`."""
        return await self._runner.call(partial(self.client.clear_limit, account, operation, by=by))

    async def limits(self) -> list[Limit]:
        """See :meth:`streamstop.client.Client.limits`."""
        return await self._runner.call(self.client.limits)

    # ---- shutdowns

    async def count_open_shutdowns(self) -> int:
        """See :meth:`streamstop.client.Client.count_open_shutdowns`."""
        return await self._runner.call(self.client.count_open_shutdowns)

    # ---- drain

    async def count_cancelled(self) -> Mapping[Lane, int]:
        """See :meth:`streamstop.client.Client.count_cancelled`."""
        return await self._runner.call(self.client.count_cancelled)

    async def drain(
        self,
        account: str,
        operation: str | None = None,
        *,
        older_than: float | timedelta | None = None,
        room: str | None = None,
        dry_run: bool = False,
        by: str | None = None,
        progress: Callable[[Drained], None] | None = None,
    ) -> Drained:
        """See :meth:`streamstop.client.Client.drain`. Where the caller is cancelled, the drain ends after its step."""
        steps = self.client._draining(  # noqa: SLF001
            account, operation, older_than=older_than, room=room, dry_run=dry_run, by=by
        )
        async with aclosing(self._runner.iterate(steps)) as draining:
            async for drained in draining:
                if progress is not None:
                    progress(drained)
        return drained

    # ---- find

    async def find(
        self, params: Mapping[str, str | int] | str, *, account: str | None = None, operation: str | None = None
    ) -> AsyncGenerator[Sighting, None]:
        """See :meth:`streamstop.client.Client.find`. A search that is given up ends after its page."""
        steps = self.client._finding(params, account, operation)  # noqa: SLF001
        async with aclosing(self._runner.iterate(steps)) as sightings:
            async for sighting in sightings:
                yield sighting

    # ---- events and errors

    async def events(
        self,
        *,
        since: float | timedelta | None = None,
        account: str | None = None,
        after: str | None = None,
        most: int | None = None,
    ) -> list[Event]:
        """See :meth:`streamstop.client.Client.events`."""
        call = partial(self.client.events, since=since, account=account, after=after, most=most)
        return await self._runner.call(call)

    async def follow_events(
        self, *, account: str | None = None, after: str | None = None, timeout: float | timedelta | None = None
    ) -> AsyncGenerator[Event, None]:
        """See :meth:`streamstop.client.Client.follow_events`."""
        steps = self.client._following_events(account, after, timeout)  # noqa: SLF001
        async with aclosing(self._runner.iterate(steps)) as events:
            async for event in events:
                yield event

    async def errors(
        self, *, since: float | timedelta = timedelta(minutes=30), account: str | None = None
    ) -> list[ErrorCount]:
        """See :meth:`streamstop.client.Client.errors`."""
        return await self._runner.call(partial(self.client.errors, since=since, account=account))

    # ---- workers

    async def workers(self) -> list[WorkerView]:
        """See :meth:`streamstop.client.Client.workers`."""
        return await self._runner.call(self.client.workers)

    async def redis_info(self) -> Mapping[str, Any]:
        """See :meth:`streamstop.client.Client.redis_info`."""
        return await self._runner.call(self.client.redis_info)

    async def diagnose(
        self, account: str | None = None, *, timeout: float | timedelta = DIAGNOSIS_TIMEOUT
    ) -> Diagnosis:
        """See :meth:`streamstop.client.Client.diagnose`."""
        steps = self.client._examining(account, timeout)  # noqa: SLF001
        async with aclosing(self._runner.iterate(steps)) as findings:
            return Diagnosis(findings=tuple([finding async for finding in findings]))
