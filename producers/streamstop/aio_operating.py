"""Operating from asyncio: what people on call see and do, as methods of :class:`~streamstop.aio.AsyncClient`."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from streamstop._core.lane import Lane
from streamstop._core.lane_types import LaneView
from streamstop._core.workers import WorkerView
from streamstop.client import Client

_T = TypeVar("_T")


class AsyncOperating:
    """The methods of an asynchronous client for people on call; see :class:`~streamstop.operating.Operating`."""

    client: Client

    async def calling(self, call: Callable[[], _T]) -> _T:
        """Run a call that is soon over."""
        raise NotImplementedError

    async def accounts(self) -> Mapping[str, str]:
        """See :meth:`streamstop.client.Client.accounts`."""
        return await self.calling(self.client.accounts)

    # ---- lanes

    async def lanes(self, lanes: Iterable[Lane] | None = None) -> list[LaneView]:
        """See :meth:`streamstop.client.Client.lanes`."""
        return await self.calling(partial(self.client.lanes, None if lanes is None else list(lanes)))

    # ---- pauses, limits and holds

    # ---- drain

    # ---- find

    # ---- events and errors

    # ---- workers

    async def workers(self) -> list[WorkerView]:
        """See :meth:`streamstop.client.Client.workers`."""
        return await self.calling(self.client.workers)
