"""The recording client for asyncio: every call runs here and now, in the order of the code under test."""

from collections.abc import Callable
from typing import TypeVar

from streamstop.aio import AsyncClient
from streamstop.testing.recording import RecordingClient

_T = TypeVar("_T")


class RecordingAsyncClient(AsyncClient):
    """Stands in for an :class:`~streamstop.aio.AsyncClient`: the same, over a :class:`RecordingClient`.

    ::

        recording = RecordingClient(…)
        await close_room(RecordingAsyncClient(recording), …)
        assert recording.enqueued == […]
    """

    client: RecordingClient

    def __init__(self, recording: RecordingClient | None = None) -> None:
        self.client = recording if recording is not None else RecordingClient()

    async def close(self) -> None:
        """Do nothing: the client can be used again."""

    async def calling(self, call: Callable[[], _T]) -> _T:
        """Run the call here and now: it does not block."""
        return call()

    async def waiting(self, call: Callable[[], _T]) -> _T:
        """Run the call here and now: it does not wait."""
        return call()
