"""Job: a command in the queue, as its producer holds it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from streamstop._core.backend import Backend
from streamstop._core.durations import wait_duration
from streamstop._core.lane import Lane
from streamstop.errors import NotCancellable, OutcomeTimeout
from streamstop.outcomes import Deferral, Outcome, Result


@dataclass(frozen=True)
class Job:
    """A command in the queue. Equal by id; safe to keep as its id and ask for again with ``Client.job``."""

    id: str
    _backend: Backend

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def outcome(self, timeout: float | timedelta | None = None) -> Outcome:
        """Wait until the job has ended, and return how. `timeout` is in seconds; None waits for ever.

        Raises :class:`~streamstop.errors.OutcomeTimeout` where the job is still open then, and
        :class:`~streamstop.errors.QueueUnavailable`. How a job ended is never an exception: see ``outcome.result``.
        """
        with self._backend.following("the job goes on; ask for its outcome again"):
            for outcome in self._backend.outcomes([self.id], wait_duration(timeout)):
                return outcome
        raise OutcomeTimeout(f"job {self.id} is still open")

    def peek(self) -> Outcome | Deferral | None:
        """Return the outcome, or why the job is waiting to be called again, or None while there is neither."""
        with self._backend.reaching("the job could not be looked up"):
            return self._backend.record(self.id)

    def cancel(self) -> Outcome:
        """Take the job back, so that the vendor is never called for it; return the outcome ``cancelled``. Idempotent.

        An id that was never enqueued is cancelled too: nobody can tell it from one that waits.

        Raises :class:`~streamstop.errors.NotCancellable` where a worker has claimed it or it has ended.
        """
        lane = Lane.of_job(self.id)
        if lane is None:
            raise NotCancellable(f"job {self.id} has an id of another producer's, which does not name its lane")
        outcome = Outcome(
            result=Result.CANCELLED,
            job_id=self.id,
            account=lane.account,
            operation=lane.operation,
            ended_at=datetime.now(UTC),
        )
        with self._backend.reaching("the job may or may not be cancelled; cancel it again"):
            answer = self._backend.cancel(lane, outcome)
        if answer == "ended" and isinstance(ended := self.peek(), Outcome) and ended.result is Result.CANCELLED:
            return ended
        if answer != "cancelled":
            reason = "was already claimed by a worker" if answer == "claimed" else "has ended"
            raise NotCancellable(f"job {self.id} {reason}")
        return outcome
