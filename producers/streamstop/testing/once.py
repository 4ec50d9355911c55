"""Repetitions: unique commands and idempotency keys of a :class:`~streamstop.testing.RecordingClient`."""

from collections.abc import Callable
from datetime import datetime

from streamstop._core.commands import Command
from streamstop._core.requests import Request
from streamstop.errors import IdempotencyConflict
from streamstop.operations import Operation


class RecordedOnce:
    """What was enqueued before. The queue calls every method under its lock."""

    def __init__(self, open_job: Callable[[str], tuple[Command, datetime] | None]) -> None:
        self._open_job = open_job
        self._unique: dict[tuple[str, Operation], str] = {}
        self._requests: dict[str, tuple[str, list[str]]] = {}

    def known(self, request: Request | None) -> list[str] | None:
        """Return the ids of the jobs of a call that is made again; None: it is not."""
        if request is None or request.id not in self._requests:
            return None
        digest, ids = self._requests[request.id]
        if digest != request.digest:
            raise IdempotencyConflict("the idempotency key was used within a day for other commands")
        return ids

    def note(self, request: Request | None, ids: list[str]) -> None:
        """Note the jobs of a call."""
        if request is not None:
            self._requests[request.id] = (request.digest, ids)

    def found(self, command: Command, now: datetime) -> str | None:
        """Return the id of the open job of a unique command that expires no earlier than `command` would."""
        job_id = self._unique.get((command.account, command.operation), "")
        job = self._open_job(job_id)
        if job is None:
            return None
        open_command, enqueued_at = job
        if open_command.expires_in is None or command.expires_in is None:
            return job_id if open_command.expires_in is None else None
        return job_id if enqueued_at + open_command.expires_in >= now + command.expires_in else None

    def note_unique(self, command: Command, job_id: str) -> None:
        """Note the job of a unique command."""
        self._unique[command.account, command.operation] = job_id
