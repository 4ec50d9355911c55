"""The recording client: the real client over a queue in memory, with methods for tests."""

from collections.abc import Iterable, Mapping
from typing import Any

from streamstop._core.commands import Command
from streamstop._core.workers import WorkerView
from streamstop.client import Client
from streamstop.errors import StreamstopError
from streamstop.jobs import Job
from streamstop.outcomes import Result
from streamstop.testing.answers import Answer, Which
from streamstop.testing.queue import RecordedQueue
from streamstop.testing.shutdowns import RecordingShutdown


class RecordingClient(Client):
    """Replaces a :class:`~streamstop.client.Client` in tests, without Redis and without a vendor.

    `accounts` (names to vendors) are the accounts of workers. Without any, every account name is accepted, as it is
    before a worker has published one. With `leave_open`, jobs and shutdowns stay open until :meth:`end`. Threads can
    share the client.
    """

    def __init__(self, *, accounts: Mapping[str, str] | None = None, leave_open: bool = False) -> None:
        self._queue = RecordedQueue(accounts or {}, leave_open=leave_open)
        self._backend = self._queue

    def __repr__(self) -> str:
        return f"RecordingClient({len(self.enqueued)} enqueued)"

    @property
    def enqueued(self) -> list[Command]:
        """Every enqueued command, in order."""
        return self._queue.enqueued

    @property
    def shutdowns(self) -> list[RecordingShutdown]:
        """Every shutdown, in the order of opening."""
        return [self.shutdown(shutdown_id) for shutdown_id in self._queue.rooms.shutdowns]

    def shutdown(self, shutdown_id: str) -> RecordingShutdown:
        """Return the shutdown with this id, without checking that it exists."""
        return RecordingShutdown(shutdown_id, self._queue)

    def answer(
        self,
        which: Which,
        *,
        result: Result | str,
        code: str | None = None,
        message: str | None = None,
        raw: int | str | None = None,
        reply: dict[str, Any] | None = None,
    ) -> None:
        """Set how the commands that `which` selects end from now on. If several answers match, the latest applies.

        `raw` is the vendor's value for a status operation; the operation's own table interprets it. Without an answer,
        stops end ``stopped``, and status operations report a task that is over.

        Raises :class:`ValueError` for a result that the operation cannot have.
        """
        self._queue.answer(Answer(which, Result(result), raw, {"code": code, "message": message, "reply": reply}))

    def fail_with(self, error: StreamstopError | None) -> None:
        """Make every call raise `error` from now on, such as ``QueueUnavailable("…")``; None: raise nothing."""
        self._queue.error = error

    def set_workers(self, workers: Iterable[WorkerView]) -> None:
        """Set the workers. Without this there is one worker, which has all accounts."""
        self._queue.fleet.set_workers(workers)

    def end(self, *jobs: Job) -> None:
        """End open jobs by the current answers. Without arguments, end all open jobs and shutdowns."""
        if not jobs:
            self._queue.end_shutdowns()
        self._queue.end_jobs([job.id for job in jobs] or None)
