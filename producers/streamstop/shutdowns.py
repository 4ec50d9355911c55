"""Shutdown: one bulk stop of a room, as its producer holds it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from streamstop._core.backend import Backend
from streamstop._core.durations import wait_duration
from streamstop._core.progress import Progress, ShutdownStatus
from streamstop.errors import OutcomeTimeout, UnknownShutdown
from streamstop.outcomes import Outcome


@dataclass(frozen=True)
class Shutdown:
    """One bulk stop of a room. Safe to keep as its id and ask for again with ``Client.shutdown``.

    Every method raises :class:`~streamstop.errors.QueueUnavailable` where Redis does not answer. Where there is no
    shutdown by this id, or it ended over seven days ago, there are no outcomes and nothing is cancelled, and the other
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
        """Return how far it is. The cost does not grow with the room."""
        with self._backend.reaching("the shutdown goes on; ask for its progress again"):
            progress = self._backend.progress(self.id)
        if progress is None:
            raise UnknownShutdown(f"there is no shutdown {self.id}, or it ended over seven days ago")
        return progress

    def watch(self, timeout: float | timedelta | None = None) -> Iterator[Progress]:
        """Yield the progress now and whenever it changes, at most ten times a second; end after the last one.

        `timeout` is in seconds; None watches to the end. One subscribed connection a watcher, however many tasks.
        """
        with self._backend.following("the shutdown goes on; watch it again"):
            for _ in self._backend.changes(self.id, wait_duration(timeout)):
                progress = self.progress()
                yield progress
                if progress.status is not ShutdownStatus.OPEN:
                    return

    def wait(self, timeout: float | timedelta | None = None) -> Progress:
        """Wait until everything has ended, and return how. `timeout` is in seconds; None waits for ever.

        Raises :class:`~streamstop.errors.OutcomeTimeout` where the shutdown is still open then.
        """
        for progress in self.watch(timeout):
            if progress.status is not ShutdownStatus.OPEN:
                return progress
        raise OutcomeTimeout(f"shutdown {self.id} is still open")

    def outcomes(self) -> Iterator[Outcome]:
        """Yield how every stream task ended that has, read page by page, until seven days after the end."""
        with self._backend.following("ask for the outcomes again"):
            yield from self._backend.outcomes_of(self.id)

    def cancel(self) -> bool:
        """Take back what no worker has claimed; the registry keeps those tasks. False where it is not open."""
        with self._backend.reaching("the shutdown may or may not be cancelled; cancel it again"):
            return self._backend.cancel_shutdown(self.id)
