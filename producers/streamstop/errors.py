"""The exceptions that streamstop raises on purpose.

::

    StreamstopError
    ├── InvalidCommand (ValueError)    a field of a command is wrong; nothing was enqueued
    │   ├── UnknownOperation
    │   ├── UnknownAccount
    │   └── NewerMessage               a worker met a message of a later version of the contract
    ├── InvalidSettings (ValueError)   an environment variable or a file's key is wrong
    ├── IdempotencyConflict (ValueError)  the idempotency key was used for other commands
    ├── RequestUnderWay                a call with the same idempotency key has not returned
    ├── QueueUnavailable               Redis did not answer in time, or refuses for now
    ├── InternalError                  a bug in streamstop; chained from what Redis said
    ├── NotCancellable                 the job was already claimed, or has ended
    ├── UnknownShutdown                no shutdown has this id, or its record is gone
    ├── UnknownDeadLetter              no dead letter has this id, or it was requeued or dropped
    ├── NotRequeueable                 the dead letter's message could not be read
    ├── OutcomeTimeout (TimeoutError)  the job is still open
    ├── JobFailed                      a job that needs a person, as Celery's ``AsyncResult.get`` raises it
    └── JobDeferred                    why a job is waiting to be called again, as Celery's ``RETRY`` shows it
"""

from collections.abc import Sequence
from typing import Any

_LONGEST_QUOTED = 100


def quoted(value: object) -> str:
    """Return a stranger's value as a message quotes it: its ``repr``, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTED else f"{text[:_LONGEST_QUOTED]}…"


class StreamstopError(Exception):
    """Anything that streamstop raises on purpose."""


class InvalidCommand(StreamstopError, ValueError):
    """A command is not valid; nothing was enqueued.

    ``field`` is the parameter's name at the vendor (``TaskId``) or of the command (``expires_in``). ``index`` is the
    position of a command whose account is not known among the commands of the call, from 0.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.index: int | None = None


class UnknownOperation(InvalidCommand):
    """No operation has this id; the message names the nearest ones."""


class UnknownAccount(InvalidCommand):
    """No running worker has this account, or its vendor is another one than the operation's."""


class NewerMessage(InvalidCommand):
    """A message is of a later version of the contract than this worker reads."""


class InvalidSettings(StreamstopError, ValueError):
    """A setting is missing or wrong; the message names the variable or the key, and what is allowed."""


class IdempotencyConflict(StreamstopError, ValueError):
    """The idempotency key was used within a day for other commands; nothing was enqueued."""


class RequestUnderWay(StreamstopError):
    """Another call with the same idempotency key and commands has not returned yet; make the call again in a second.

    A caller that was killed counts as under way for a minute.
    """


class QueueUnavailable(StreamstopError):
    """Redis did not answer in time, or refuses for now; for ``enqueue`` the message says what became of the command.

    So is a Redis that refuses the user name, the password or the command (ACL): the message says which, and names
    the host, the port and the database. ``reason`` is that part of the message, without what became of the command.
    If the jobs of a call may have been enqueued, ``job_ids`` has their ids, in the order of the commands.
    """

    def __init__(self, message: str, *, reason: str | None = None, job_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.job_ids = tuple(job_ids)


class InternalError(StreamstopError):
    """A bug in streamstop, or a key of its own that another program has written (``WRONGTYPE``).

    The same call fails again. The exception is chained from what Redis said.
    """


class NotCancellable(StreamstopError):
    """The job was already claimed by a worker, or has ended."""


class UnknownShutdown(StreamstopError):
    """No shutdown has this id, or it ended over seven days ago."""


class UnknownDeadLetter(StreamstopError):
    """No dead letter has this id; it may have been requeued or dropped since."""

    def __init__(self, letter_id: str) -> None:
        super().__init__(f"there is no dead letter {letter_id}: it may have been requeued or dropped")


class NotRequeueable(StreamstopError):
    """The dead letter holds no command, for its message could not be read."""


class OutcomeTimeout(StreamstopError, TimeoutError):
    """The job is still open; it goes on, and its outcome can be asked for again."""


class JobFailed(StreamstopError):
    """A job ended so that a person must look: Celery's ``FAILURE``.

    ``outcome`` is the outcome as JSON data; ``Outcome.model_validate`` reads it. When the job
    ended is Celery's ``date_done``.
    """

    def __init__(self, outcome: dict[str, Any]) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        said = " ".join(str(self.outcome[part]) for part in ("result", "code", "message") if self.outcome.get(part))
        return said or "failed"


class JobDeferred(StreamstopError):
    """A job met a transient fault and is due again later: Celery's ``RETRY``."""

    def __init__(self, reason: str, due: str) -> None:
        super().__init__(reason, due)
        self.reason = reason
        self.due = due

    def __str__(self) -> str:
        return f"{self.reason}; due again at {self.due}"
