"""Recorded shutdowns: the handle for a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamstop._core.commands import Command
from streamstop.errors import UnknownShutdown
from streamstop.shutdowns import Shutdown
from streamstop.testing.queue import RecordedQueue
from streamstop.testing.rooms import RecordedShutdown


@dataclass(frozen=True, eq=False, repr=False)
class RecordingShutdown(Shutdown):
    """A shutdown of a :class:`~streamstop.testing.RecordingClient`."""

    _backend: RecordedQueue

    @property
    def commands(self) -> list[Command]:
        """The stops of its stream tasks."""
        return [member.command for member in self._recorded().members]

    @property
    def verify(self) -> bool:
        """Whether the shutdown verifies its stops."""
        return self._recorded().verify

    @property
    def callback(self) -> Mapping[str, Any] | None:
        """The callback: ``{"url": …}`` or a Celery signature. It is never called."""
        return self._recorded().callback

    def _recorded(self) -> RecordedShutdown:
        with self._backend.reaching("the shutdown could not be looked up"):
            recorded = self._backend.rooms.shutdowns.get(self.id)
        if recorded is None:
            raise UnknownShutdown(f"there is no shutdown {self.id}, or it ended over seven days ago")
        return recorded
