"""Repetitions: unique commands and idempotency keys of a :class:`~streamstop.testing.RecordingClient`."""

from collections.abc import Callable, Sequence
from datetime import datetime

from streamstop._core.commands import Command
from streamstop._core.requests import Request
from streamstop.errors import IdempotencyConflict
from streamstop.operations import Operation


class RecordedOnce:
    """What was enqueued before. The queue calls every method under its lock."""

    def __init__(
        self,
        open_job: Callable[[str], tuple[Command, datetime] | None],
        enqueue: Callable[[str, Command, datetime], None],
    ) -> None:
        self._open_job = open_job
        self._enqueue = enqueue
        self._unique: dict[tuple[str, Operation], str] = {}
        self._requests: dict[str, tuple[str, list[str]]] = {}

    def enqueue(
        self, jobs: Sequence[tuple[str, Command]], *, unique: bool, request: Request | None, now: datetime
    ) -> list[str]:
        """Enqueue jobs that are no repetitions; return for each command the id of its job."""
        known = self._known(request)
        if known is not None:
            return known
        ids = []
        for job_id, command in jobs:
            found = self._found(command, now) if unique else None
            if found is None:
                self._enqueue(job_id, command, now)
                if unique:
                    self._unique[command.account, command.operation] = job_id
            ids.append(found or job_id)
        if request is not None:
            self._requests[request.id] = (request.digest, ids)
        return ids

    def _known(self, request: Request | None) -> list[str] | None:
        """Return the ids of the jobs of a call that is made again; None: it is not."""
        if request is None or request.id not in self._requests:
            return None
        digest, ids = self._requests[request.id]
        if digest != request.digest:
            raise IdempotencyConflict("the idempotency key was used within a day for other commands")
        return ids

    def _found(self, command: Command, now: datetime) -> str | None:
        """Return the id of the open job of a unique command that expires no earlier than `command` would."""
        job_id = self._unique.get((command.account, command.operation), "")
        job = self._open_job(job_id)
        if job is None:
            return None
        open_command, enqueued_at = job
        if open_command.expires_in is None or command.expires_in is None:
            return job_id if open_command.expires_in is None else None
        return job_id if enqueued_at + open_command.expires_in >= now + command.expires_in else None
