"""Job: a producer's handle of a command in the queue."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from streamstop._core.backend import Backend, WaitInterval, blocking
from streamstop._core.controls import check_by
from streamstop._core.durations import wait_duration
from streamstop._core.journal import EventKind
from streamstop._core.lane import Lane
from streamstop._core.sightings import JobView
from streamstop.errors import NotCancellable, OutcomeTimeout, StreamstopError
from streamstop.outcomes import Deferral, Outcome, Result


@dataclass(frozen=True)
class Job:
    """A command in the queue. Jobs are equal if their ids are. ``Client.job`` returns a job from its id."""

    id: str
    _backend: Backend

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def outcome(self, timeout: float | timedelta | None = None) -> Outcome:
        """Wait until the job has ended, and return its outcome. `timeout` is in seconds; None waits for ever.

        Raises :class:`~streamstop.errors.OutcomeTimeout` if the job is still open after `timeout`, and
        :class:`~streamstop.errors.QueueUnavailable`. A job that failed raises nothing: see ``outcome.result``.
        """
        for outcome in blocking(self._waiting(timeout)):
            return outcome
        raise OutcomeTimeout(f"job {self.id} has no outcome yet")

    def _waiting(self, timeout: float | timedelta | None) -> Iterator[Outcome | WaitInterval]:
        with self._backend.following("the job goes on; ask for its outcome again"):
            yield from self._backend.outcomes([self.id], wait_duration(timeout))

    def exists(self) -> bool:
        """Return whether there is such a job: one that has not ended, or whose outcome can still be read.

        This can search the job's whole lane, page by page. A Redis user that may only enqueue is told True.
        """
        with self._backend.following("the job could not be looked up"):
            return self._backend.exists(self.id)

    def look(self) -> JobView | None:
        """Return where the job is and what Redis knows of it; None: there is no such job, or nothing is known any more.

        This can search the job's whole lane, page by page.
        """
        with self._backend.following("the job could not be looked up"):
            return self._backend.look(self.id)

    def peek(self) -> Outcome | Deferral | None:
        """Return the outcome, or why the job waits for another call, or None while there is neither."""
        with self._backend.reaching("the job could not be looked up"):
            return self._backend.record(self.id)

    def cancel(self, *, by: str | None = None) -> Outcome:
        """Cancel the job, so that the vendor is never called for it; return the outcome ``cancelled``. Idempotent.

        With `by`, who cancels is in the outcome's message, and becomes an event. An id that was never enqueued is
        cancelled too, for Redis cannot tell it from the id of a waiting job.

        Raises :class:`~streamstop.errors.NotCancellable` if a worker has claimed the job or it has ended.
        """
        lane = Lane.of_job(self.id)
        if lane is None:
            raise NotCancellable(f"job {self.id} has an id that another program made: it does not name a lane")
        by = None if by is None else check_by(by)
        outcome = Outcome(
            result=Result.CANCELLED,
            job_id=self.id,
            account=lane.account,
            operation=lane.operation,
            message=None if by is None else f"cancelled by {by}",
            ended_at=datetime.now(UTC),
        )
        with self._backend.reaching("the job may or may not be cancelled; cancel it again"):
            answer = self._backend.cancel(lane, outcome)
        if answer == "ended" and isinstance(ended := self.peek(), Outcome) and ended.result is Result.CANCELLED:
            return ended
        if answer != "cancelled":
            reason = "was already claimed by a worker" if answer == "claimed" else "has ended"
            raise NotCancellable(f"job {self.id} {reason}")
        if by is not None:
            with suppress(StreamstopError), self._backend.reaching("the act is not among the events"):
                text, where = f"job {self.id} is cancelled", {"account": lane.account, "operation": lane.operation}
                self._backend.journal.add(EventKind.CANCELLED, text, **where, by=by)
        return outcome
