"""Shutdown: a producer's handle of one bulk stop of a room."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from streamstop._core.backend import Backend, WaitInterval, blocking
from streamstop._core.controls import check_by
from streamstop._core.durations import wait_duration
from streamstop._core.journal import EventKind
from streamstop._core.membership import check_page_size
from streamstop._core.progress import OutcomePage, Progress, ShutdownStatus
from streamstop.errors import OutcomeTimeout, StreamstopError, UnknownShutdown
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

    def outcome_page(self, cursor: str | None = None, *, most: int = 100, attention: bool = False) -> OutcomePage:
        """Return a page of about `most` (1 to 10,000) outcomes; with `attention`, only of those that need a person.

        `cursor` is the ``next`` of the page before. With `attention`, a page looks at 20,000 outcomes at most, so it
        can be empty although there is a next one.

        An outcome that is there from the first page to the last is in one of the pages. While the shutdown is open, it
        can be in two.
        """
        most = check_page_size(most)
        with self._backend.reaching("ask for the outcomes again"):
            return self._backend.outcome_page(self.id, cursor, most, attention=attention)

    def accounts(self) -> frozenset[str]:
        """Return the accounts of the stream tasks, and of those that are registered in the room while it is open.

        It reads them all.
        """
        with self._backend.following("ask for the accounts again"):
            return self._backend.accounts_of(self.id)

    def cancel(self, *, by: str | None = None) -> bool:
        """Cancel the jobs that no worker has claimed; return False if the shutdown is not open.

        Their stream tasks stay registered in the room. With `by`, who cancels becomes an event.
        """
        by = None if by is None else check_by(by)
        with self._backend.reaching("the shutdown may or may not be cancelled; cancel it again"):
            is_cancelled = self._backend.cancel_shutdown(self.id)
        if is_cancelled and by is not None:
            with suppress(StreamstopError), self._backend.reaching("the act is not among the events"):
                self._backend.journal.add(EventKind.CANCELLED, f"shutdown {self.id} is cancelled", by=by)
        return is_cancelled
