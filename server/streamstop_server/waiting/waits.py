"""Waits: long polls and streams that are open in this process, and how many there may be.

Each costs a connection and some memory, but no thread.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request

from streamstop_server.http.problems import Problem
from streamstop_server.waiting.ending import ending_of

#: How many may be open in one process.
MOST_WAITS = 5000
#: The longest long poll in seconds: proxies give up after a minute.
LONGEST_POLL_S = 60.0
_RETRY_AFTER_S = 5

_T = TypeVar("_T")


class Waits:
    """Counts the open waits of this process."""

    def __init__(self, most: int = MOST_WAITS) -> None:
        self.most = most
        self.open = 0

    def begin(self) -> None:
        """Count a wait; refuse it if too many are open (503). Whoever has begun it ends it."""
        if self.open >= self.most:
            raise Problem(
                503,
                "too-many-waits",
                f"{self.most} clients wait at this process already",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        self.open += 1

    def end(self) -> None:
        """Count it no longer."""
        self.open -= 1

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count the block as a wait."""
        self.begin()
        try:
            yield
        finally:
            self.end()


def waits_of(request: Request) -> Waits:
    """Return the application's waits."""
    found: Waits = request.app.state.waits
    return found


async def poll(request: Request, call: Awaitable[_T], default: _T) -> _T:
    """Return what `call` returns; `default` if the process ends first, or the client has gone.

    It is a wait that counts. `call` is cancelled if it is not over.
    """
    task = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_gone(request))
    try:
        with waits_of(request).one():
            first = _first(task, gone)
            await ending_of(request).bounded(first, None)
        return task.result() if task.done() else default
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _first(*tasks: "asyncio.Future[Any]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
