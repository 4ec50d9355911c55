"""The recording client for asyncio. Every call runs in the event loop's thread, in the order of the tested code."""

from collections.abc import Callable
from typing import TypeVar

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

    async def close(self) -> None:
        """Do nothing. The client can be used again."""

    async def calling(self, call: Callable[[], _T]) -> _T:
        """Run the call in this thread. It does not block."""
        return call()

    async def waiting(self, call: Callable[[], _T]) -> _T:
        """Run the call in this thread. It does not wait."""
        return call()
