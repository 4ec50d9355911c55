"""Lane feed: the lanes that all viewers share, and that one task reads for all of them."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Self

import structlog
from fastapi import Depends, Request

from streamstop import AsyncClient, Controls, LaneView, StreamstopError
from streamstop_server.access.scopes import seen_controls
from streamstop_server.access.tokens import Caller
from streamstop_server.page.call_history import STEP_S, CallHistory
from streamstop_server.waiting.followed import EVERY_S, Followed

_log = structlog.get_logger("streamstop.server")

#: How long a screen waits for newer lanes while there are older ones.
PATIENCE_S = 0.1


@dataclass(frozen=True)
class LanesNow:
    """The lanes that hold jobs or lately held some, and what people and refused keys have set."""

    views: Sequence[LaneView]
    controls: Controls

    def of(self, caller: Caller) -> "LanesNow":
        """Return what `caller` may see. The steps of shutdowns are left out, unless they hold jobs."""
        seen = [v for v in self.views if caller.may_touch(v.account) and (v.backlog or not v.account.startswith("_"))]
        return LanesNow(seen, seen_controls(caller, self.controls))


class LaneFeed(Followed):
    """The lanes, read at most once a second while somebody follows, else for each step of the call history."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self.calls = CallHistory()
        self._client = client
        self._now: LanesNow | None = None
        #: Differs when what screens show does.
        self._stamp: object = None
        self._began_at = self._read_at = -math.inf
        self._failure: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        self._has_followers = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in (self._task, self._reading):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    def begin(self) -> None:
        """Read often from now on."""
        self._has_followers.set()

    def end(self) -> None:
        """Read seldom."""
        self._has_followers.clear()

    @property
    def problem(self) -> str:
        """Why the last read failed; '' if it did not."""
        return "" if self._failure is None else str(self._failure)

    async def latest(self) -> LanesNow:
        """Return the lanes. They are at most a second old if they can be read soon; else they are the last ones.

        Raises what the read raised if nothing was ever read.
        """
        is_old = not self.followers and time.monotonic() - self._read_at > EVERY_S  # while somebody follows, it is new
        if is_old or self._now is None:
            await asyncio.wait({self._begin_read()}, timeout=None if self._now is None else PATIENCE_S)
        return self._known()

    async def refresh(self) -> LanesNow:
        """Return the lanes as they are from now on, such as after an act."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        await asyncio.wait({self._begin_read()})
        return self._known()

    async def _run(self) -> None:
        while True:
            await asyncio.wait({self._begin_read()})
            took = time.monotonic() - self._began_at
            if self.followers:
                await asyncio.sleep(max(EVERY_S, 2 * took) - took)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(STEP_S):
                    await self._has_followers.wait()

    def _begin_read(self) -> asyncio.Task[None]:
        """Return the read under way; begin one if there is none."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        self._began_at = time.monotonic()
        failure: Exception | None = None
        try:
            self._now, stamp = await self._read_lanes()
        except StreamstopError as error:
            failure, stamp = error, str(error)
        except Exception as error:  # noqa: BLE001  # the next read must follow
            _log.exception("read for the page failed")
            failure, stamp = error, repr(error)
        else:
            self._read_at = time.monotonic()
        self._failure = failure
        if stamp != self._stamp:
            self._stamp = stamp
            self.wake()

    async def _read_lanes(self) -> tuple[LanesNow, object]:
        views = await self._client.lanes(recent=True)
        controls = await self._client.controls()
        self.calls.add(views, time.time())
        contents = [{name: value for name, value in view.__dict__.items() if name != "at"} for view in views]
        rates = [self.calls.rate(view.lane) for view in views]
        return LanesNow(views, controls), (contents, rates, controls)

    def _known(self) -> LanesNow:
        if self._now is None:
            assert self._failure is not None  # noqa: S101  # it was read, and either came or failed
            raise self._failure
        return self._now


async def lane_feed_of(request: Request) -> LaneFeed:
    """Return the lane feed of this process."""
    found: LaneFeed = request.app.state.lane_feed
    return found


#: The lane feed, as a parameter of a route.
SharedLanes = Annotated[LaneFeed, Depends(lane_feed_of)]
