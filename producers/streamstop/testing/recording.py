"""The recording client: the real one over a queue in memory, and what tests say and ask."""

from collections.abc import Mapping
from typing import Any

from streamstop._core.commands import Command
from streamstop.client import Client
from streamstop.errors import StreamstopError
from streamstop.jobs import Job
from streamstop.outcomes import Result
from streamstop.testing.answers import Answer, Which
from streamstop.testing.queue import RecordedQueue
from streamstop.testing.shutdowns import RecordingShutdown


class RecordingClient(Client):
    """Stands in for a :class:`~streamstop.client.Client` where there is no Redis and no vendor.

    `accounts` (names to vendors) are those that workers have; without any, every name is taken, as it is where no
    worker has spoken. With `leave_open`, jobs and shutdowns stay open until :meth:`end`. Safe to share between threads.
    """

    def __init__(self, *, accounts: Mapping[str, str] | None = None, leave_open: bool = False) -> None:
        self._queue = RecordedQueue(accounts or {}, leave_open=leave_open)
        self._backend = self._queue

    def __repr__(self) -> str:
        return f"RecordingClient({len(self.enqueued)} enqueued)"

    @property
    def enqueued(self) -> list[Command]:
        """Every command that was enqueued, in order."""
        return self._queue.enqueued

    @property
    def shutdowns(self) -> list[RecordingShutdown]:
        """Every shutdown that was opened, in order."""
        return [self.shutdown(shutdown_id) for shutdown_id in self._queue.rooms.shutdowns]

    def shutdown(self, shutdown_id: str) -> RecordingShutdown:
        """Return the shutdown with this id; whether it exists shows when it is asked for."""
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
        """Let the commands that `which` picks end so from now on; of several answers that fit, the latest counts.

        `raw` is the vendor's value for a status operation, read by the operation's own table. Without an answer,
        stops end ``stopped`` and status operations report a task that is over.

        Raises :class:`ValueError` for a result that the operation cannot have.
        """
        self._queue.answer(Answer(which, Result(result), raw, {"code": code, "message": message, "reply": reply}))

    def fail_with(self, error: StreamstopError | None) -> None:
        """Let every call raise `error` from now on, such as ``QueueUnavailable("…")``; None: let them work again."""
        self._queue.error = error

    def end(self, *jobs: Job) -> None:
        """End open jobs, by the answers that hold now; without arguments, all that are open, and all shutdowns."""
        if not jobs:
            self._queue.end_shutdowns()
        self._queue.end_jobs([job.id for job in jobs] or None)
