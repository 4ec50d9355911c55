"""The recording client for asyncio. Every call runs in the event loop's thread, in the order of the tested code."""

from collections.abc import Callable
from typing import TypeVar

from streamstop._core.runner import Runner
from streamstop.aio import AsyncClient
from streamstop.testing.recording import RecordingClient

_T = TypeVar("_T")


class RecordingAsyncClient(AsyncClient):
    """Replaces an :class:`~streamstop.aio.AsyncClient` in tests. It wraps a :class:`RecordingClient`.

    ::

        recording = RecordingClient(…)
        await close_room(RecordingAsyncClient(recording), …)
        assert recording.enqueued == […]
    """

    client: RecordingClient

    def __init__(self, recording: RecordingClient | None = None) -> None:
        self.client = recording if recording is not None else RecordingClient()
        self._runner = _InlineRunner()


class _InlineRunner(Runner):
    """Runs everything in the event loop's thread: the queue in memory never waits."""

    async def call(self, call: Callable[[], _T]) -> _T:
        """Run the call."""
        return call()

    async def step(self, call: Callable[[], _T]) -> _T:
        """Run the step."""
        return call()

    async def close(self) -> None:
        """Do nothing. The client can be used again."""
