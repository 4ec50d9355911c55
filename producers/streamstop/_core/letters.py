"""Letters: what is kept of a job that ended ``refused``, ``not_found``, ``gave_up``, ``expired`` or ``not_verified``.

In Redis a letter is the hash ``streamstop.dead.<id>``: ``lane``, ``room``, ``message`` (the raw text, where
nobody could read it) and ``letter``, the JSON of :class:`DeadLetterBody`, empty for what has not even a job's id.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError

from streamstop._core.commands import VERSION, ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._core.lane_types import DeadLetterRecord, MemberResult
from streamstop._core.membership import Membership
from streamstop.errors import InvalidCommand
from streamstop.outcomes import Outcome, Result

_UNREADABLE = "it is no message that a worker can read"


class DeadLetterBody(BaseModel):
    """What a worker writes of a job that has ended."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outcome: Outcome
    #: The command's JSON data, to be requeued; None where the message could not be read.
    command: dict[str, Any] | None = None
    membership: Membership | None = None


class DeadLetter(BaseModel):
    """A job that ended so that a person must look, or a message that nobody could read."""

    model_config = ConfigDict(frozen=True)

    #: The job's id; ``unreadable-…`` for a message that has none.
    id: str
    account: str
    operation: str
    #: By Redis' clock.
    died_at: datetime
    #: The room whose shutdown it was part of.
    room: str | None = None
    #: How the job ended: result, attempts, times, and the vendor's last answer. None for what is unreadable.
    outcome: Outcome | None = None
    #: The command's JSON data, as it is requeued; None where it could not be read.
    command: dict[str, Any] | None = None
    #: The message's own text (its first 4 KiB), where no worker could read it as a command.
    message: str | None = None

    @property
    def result(self) -> Result | None:
        """How the job ended; None for what is unreadable."""
        return None if self.outcome is None else self.outcome.result

    @property
    def code(self) -> str | None:
        """The vendor's code of the last answer."""
        return None if self.outcome is None else self.outcome.code

    @property
    def reason(self) -> str:
        """What the vendor, or the worker, said."""
        return _UNREADABLE if self.outcome is None else self.outcome.message or self.outcome.result.value


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Which dead letters are meant: those that fit everything that is given."""

    account: str | None = None
    operation: str | None = None
    result: Result | None = None
    code: str | None = None
    room: str | None = None
    #: False: only messages that nobody could read; True: all but these.
    readable: bool | None = None
    #: Died at least this long ago.
    older_than: timedelta | None = None
    #: Died at most this long ago.
    younger_than: timedelta | None = None

    def fits(self, letter: DeadLetter) -> bool:
        """Whether `letter` is meant, as far as it is not a matter of its age."""
        wanted = (self.account, self.operation, self.result, self.code, self.room, self.readable)
        readable = letter.outcome is not None
        actual = (letter.account, letter.operation, letter.result, letter.code, letter.room, readable)
        return all(want in {None, has} for want, has in zip(wanted, actual, strict=True))


@dataclass(frozen=True)
class StoredDeadLetter:
    """A letter as Redis has it."""

    letter: DeadLetter
    membership: Membership | None

    @classmethod
    def read(cls, letter_id: str, died_us: float, fields: Mapping[bytes, bytes]) -> Self:
        """Read the fields of a letter's hash."""
        held = {name.decode(): value.decode(errors="backslashreplace") for name, value in fields.items()}
        body = DeadLetterBody.model_validate_json(held["letter"]) if held.get("letter") else None
        lane = Lane.from_name(held.get("lane", ""))
        letter = DeadLetter(
            id=letter_id,
            account=lane.account if body is None else body.outcome.account,
            operation=lane.operation if body is None else body.outcome.operation,
            died_at=datetime.fromtimestamp(died_us / 1_000_000, UTC),
            room=held.get("room") or None,
            outcome=None if body is None else body.outcome,
            command=None if body is None else body.command,
            message=held.get("message") or None,
        )
        return cls(letter, None if body is None else body.membership)


def dead_letter_record(
    message: object,
    membership: Membership | None,
    outcome: Outcome,
    member_result: MemberResult | None,
    *,
    understood: bool = True,
) -> DeadLetterRecord | None:
    """Return the letter that the end of a job leaves, None for none.

    `message` is the command's JSON data, as far as it is some; `understood`: a worker could read it as a command. Of a
    job of a shutdown it is its stream task that has ended, by `settlement`.
    """
    if member_result is None:
        if membership is not None or not outcome.result.needs_person:
            return None
    elif not member_result.attention:
        return None
    else:
        outcome = Outcome.model_validate_json(member_result.outcome)
    command = dict(message) if isinstance(message, Mapping) else None
    if membership is not None and membership.verification is not None:  # it asked for a status: requeued is the stop
        stopped, params = membership.verification.stopped, membership.verification.params
        command = {"v": VERSION, "operation": stopped.operation, "account": stopped.account, "params": params}
        membership = membership.model_copy(update={"verification": None})
    if command is not None and isinstance(command.get("shutdown"), Mapping):  # a step of a shutdown keeps its name
        del command["shutdown"]
    body = DeadLetterBody(outcome=outcome, command=command, membership=membership)
    try:
        text = body.model_dump_json(exclude_none=True, by_alias=True)
    except PydanticSerializationError:  # half of a surrogate pair, or a thousand brackets
        command = None
        said = (outcome.message or "").encode(errors="backslashreplace").decode()
        text = DeadLetterBody(outcome=outcome.model_copy(update={"message": said})).model_dump_json(
            exclude_none=True, by_alias=True
        )
    return DeadLetterRecord(outcome.job_id, text, quote=not understood or command is None)


def lane_of(letter: DeadLetter) -> Lane:
    """Return the lane in which a letter's command is done; where it names none, the one that it came through."""
    try:
        return ReceivedCommand.from_message(letter.command).lane
    except InvalidCommand:
        return Lane(letter.account, letter.operation)


def requeued_id(letter: DeadLetter, lane: Lane) -> str:
    """Return the id of the job that a letter becomes: the same whenever it is asked for."""
    # Other producers may use an id again, and so may a letter.
    step = f"{letter.id} {letter.died_at.isoformat()} requeued"
    return f"{lane.name}.{hashlib.sha256(step.encode()).hexdigest()[:32]}"


def requeued_command(command: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a command as it is requeued: from now on, and without the expiry that it had."""
    kept = {key: value for key, value in command.items() if key != "expires_at"}
    return {**kept, "enqueued_at": now.timestamp()}
