"""Following: what is followed in this process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import Request

from streamstop import AsyncClient
from streamstop_server.access.coverage import covers_lanes
from streamstop_server.access.tokens import Caller
from streamstop_server.waiting.event_log import EventLog
from streamstop_server.waiting.followed_shutdown import FollowedShutdown, Snapshot
from streamstop_server.waiting.streams import KEEP_ALIVE_S


class Following:
    """The events, and the shutdowns that somebody follows. Create it in the event loop."""

    def __init__(self, client: AsyncClient) -> None:
        self.events = EventLog(client)
        self._client = client
        self._shutdowns: dict[str, FollowedShutdown] = {}

    @property
    def count(self) -> int:
        """How many sources are read."""
        return self.events.is_read + sum(one.is_read for one in self._shutdowns.values())

    @asynccontextmanager
    async def shutdown(self, shutdown_id: str) -> AsyncGenerator[FollowedShutdown, None]:
        """Follow a shutdown in the block."""
        followed = self._shutdowns.get(shutdown_id)
        if followed is None:
            followed = self._shutdowns[shutdown_id] = FollowedShutdown(self._client.shutdown(shutdown_id))
        try:
            async with followed.follow():
                yield followed
        finally:
            if not followed.followers:
                self._shutdowns.pop(shutdown_id, None)


async def states_for(
    request: Request, caller: Caller, shutdown_id: str, *, seen: str | None = None
) -> AsyncGenerator[Snapshot | None, None]:
    """Yield each state of a shutdown, from that after `seen` (a state's id) to the last; None while it stays the same.

    Ends when a task of an account has joined that the token does not cover.
    """
    async with following_of(request).shutdown(shutdown_id) as followed:
        while True:
            version, snapshot = followed.version, await followed.latest()
            if not covers_lanes(caller, snapshot.progress):
                return
            if snapshot.id != seen:
                seen = snapshot.id
                yield snapshot
            if snapshot.is_final:
                return
            if not await followed.change(version, KEEP_ALIVE_S):
                yield None


def following_of(request: Request) -> Following:
    """Return what the application follows."""
    found: Following = request.app.state.following
    return found
