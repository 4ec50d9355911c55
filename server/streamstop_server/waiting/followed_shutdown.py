"""Followed shutdowns: the progress of a shutdown, read once for everybody who follows it."""

import hashlib
from collections.abc import AsyncGenerator
from functools import cached_property

from fastapi.sse import format_sse_event
from pydantic import computed_field

from streamstop import AsyncShutdown, Progress, ShutdownStatus
from streamstop_server.waiting.followed import EVERY_S, FollowedSource

#: What changes without anything happening to the shutdown.
_VOLATILE = {"lanes": {"__all__": {"rests", "backlog", "state_text"}}}


class ShutdownProgress(Progress):
    """The progress of a shutdown, with what follows from it."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ended(self) -> int:
        """Stream tasks that have ended."""
        return sum(self.results.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pending(self) -> int:
        """Stream tasks that have not ended."""
        return self.total - self.ended

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_left(self) -> float | None:
        """The expected seconds until the last stream task has ended; null: unknown."""
        return super().seconds_left

    @classmethod
    def of(cls, progress: Progress) -> "ShutdownProgress":
        """Return a progress with what follows from it."""
        return cls.model_construct(**dict(progress))


class Snapshot:
    """A progress at one moment, as followers get it. It is encoded once for all of them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        state = progress.model_dump_json(exclude=_VOLATILE)
        #: Names the state: the same in every process, and after a restart.
        self.id = hashlib.sha256(state.encode()).hexdigest()[:16]

    @property
    def is_final(self) -> bool:
        """Whether the shutdown has ended."""
        return self.progress.status is not ShutdownStatus.OPEN

    @cached_property
    def json(self) -> str:
        """The progress as JSON."""
        return ShutdownProgress.of(self.progress).model_dump_json()

    @cached_property
    def frame(self) -> bytes:
        """The progress as a server-sent event."""
        return format_sse_event(data_str=self.json, event="end" if self.is_final else "progress", id=self.id)


class FollowedShutdown(FollowedSource[Progress]):
    """A shutdown's progress. Followers see the latest state; states between two looks are left out."""

    def __init__(self, shutdown: AsyncShutdown) -> None:
        super().__init__()
        self._shutdown = shutdown
        self._latest: Snapshot | None = None

    def source(self) -> AsyncGenerator[Progress, None]:
        """Return the progress now and after each change."""
        self._latest = None  # it may be old, if reading has failed
        return self._shutdown.watch()

    def put(self, item: Progress) -> None:
        """Keep the progress if it differs from the latest."""
        snapshot = Snapshot(item)
        if self._latest is not None and self._latest.id == snapshot.id:
            return
        is_first, self._latest = self._latest is None, snapshot
        if is_first or snapshot.is_final:
            self.wake()
        else:
            self.wake_soon()

    async def latest(self) -> Snapshot:
        """Return the latest state, and wait for the first one."""
        while self._latest is None:
            await self.change(self.version, EVERY_S)
        return self._latest
