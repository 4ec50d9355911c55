"""Shutdown: a producer's handle of one bulk stop of a room."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from streamstop._core.backend import Backend, WaitInterval, blocking
from streamstop._core.durations import wait_duration
from streamstop._core.progress import Progress, ShutdownStatus
from streamstop.errors import OutcomeTimeout, UnknownShutdown
from streamstop.outcomes import Outcome


@dataclass(frozen=True)
class Shutdown:
    """One bulk stop of a room. Shutdowns are equal if their ids are. ``Client.shutdown`` returns one from its id.

    Every method raises :class:`~streamstop.errors.QueueUnavailable` if Redis does not answer. If no shutdown has this
    id, or it ended over seven days ago, :meth:`outcomes` yields nothing, :meth:`cancel` returns False, and the other
    methods raise :class:`~streamstop.errors.UnknownShutdown`.
    """

    id: str
    _backend: Backend

    def __repr__(self) -> str:
        return f"Shutdown({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shutdown) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def progress(self) -> Progress:
        """Return the progress. The cost does not grow with the room."""
        with self._backend.reaching("the shutdown goes on; ask for its progress again"):
            progress = self._backend.progress(self.id)
        if progress is None:
            raise UnknownShutdown(f"there is no shutdown {self.id}, or it ended over seven days ago")
        return progress

    def watch(self, timeout: float | timedelta | None = None) -> Iterator[Progress]:
        """Yield the progress at once and after each change, at most ten times a second, until the shutdown has ended.

        `timeout` is in seconds; None watches to the end. All waits of a client share one subscribed connection.
        """
        yield from blocking(self._watching(timeout))

    def _watching(self, timeout: float | timedelta | None) -> Iterator[Progress | WaitInterval]:
        with self._backend.following("the shutdown goes on; watch it again"):
            for change in self._backend.changes(self.id, wait_duration(timeout)):
                if change is not None:
                    yield change
                    continue
                progress = self.progress()
                yield progress
                if progress.status is not ShutdownStatus.OPEN:
                    return

    def wait(self, timeout: float | timedelta | None = None) -> Progress:
        """Wait until the shutdown has ended, and return its progress. `timeout` is in seconds; None waits for ever.

        Raises :class:`~streamstop.errors.OutcomeTimeout` if the shutdown is still open after `timeout`.
        """
        for progress in self.watch(timeout):
            if progress.status is not ShutdownStatus.OPEN:
                return progress
        raise OutcomeTimeout(f"shutdown {self.id} is still open")

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of the stream tasks that have ended. They can be read until seven days after the end."""
        with self._backend.following("ask for the outcomes again"):
            yield from self._backend.outcomes_of(self.id)

    def cancel(self) -> bool:
        """Cancel the jobs that no worker has claimed; return False if the shutdown is not open.

        Their stream tasks stay registered in the room.
        """
        with self._backend.reaching("the shutdown may or may not be cancelled; cancel it again"):
            return self._backend.cancel_shutdown(self.id)
