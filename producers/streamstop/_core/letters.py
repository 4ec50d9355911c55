"""Dead letters: jobs that ended ``refused``, ``not_found``, ``gave_up``, ``expired`` or ``not_verified``.

In Redis a dead letter is the hash ``streamstop.dead.<id>``: ``lane``, ``room``, ``message`` (the text of a message that
no worker could read) and ``letter``, the JSON of :class:`DeadLetterBody`. ``letter`` is empty for a message without a
job's id.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError

from streamstop._core.commands import VERSION, ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._core.lane_types import DeadLetterRecord, MemberResult
from streamstop._core.membership import Membership
from streamstop.errors import InvalidCommand
from streamstop.outcomes import Outcome, Result

_UNREADABLE = "it is no message that a worker can read"
#: Stands for the result of a message that no worker could read.
UNREADABLE = "unreadable"
#: How many problems a bulk act quotes, and how many codes it counts.
_MOST_PROBLEMS = 5
_MOST_CODES = 100


class DeadLetterBody(BaseModel):
    """The part of a dead letter that the worker writes as JSON."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outcome: Outcome
    #: The command's JSON data, for requeueing; None if the message could not be read.
    command: dict[str, Any] | None = None
    membership: Membership | None = None
    #: The headers of tracing for the message of the job as which it is requeued; None if nothing was traced.
    trace: dict[str, Any] | None = None


class DeadLetter(BaseModel):
    """A job whose end needs a person's attention, or a message that no worker could read."""

    model_config = ConfigDict(frozen=True)

    #: The job's id; ``unreadable-…`` for a message that has none.
    id: str
    account: str
    operation: str
    #: By Redis' clock.
    died_at: datetime
    #: The room, if the job was part of a shutdown.
    room: str | None = None
    #: How the job ended: result, attempts, times, and the vendor's last answer. None for an unreadable message.
    outcome: Outcome | None = None
    #: The command's JSON data, for requeueing; None if it could not be read.
    command: dict[str, Any] | None = None
    #: The first 4 KiB of the message, if no worker could read it as a command.
    message: str | None = None

    @property
    def result(self) -> Result | None:
        """How the job ended; None for an unreadable message."""
        return None if self.outcome is None else self.outcome.result

    @property
    def code(self) -> str | None:
        """The vendor's code in its last answer."""
        return None if self.outcome is None else self.outcome.code

    @property
    def reason(self) -> str:
        """The vendor's or the worker's message."""
        return _UNREADABLE if self.outcome is None else self.outcome.message or self.outcome.result.value


@dataclass(frozen=True, kw_only=True)
class Matching:
    """A selection of dead letters: those that match every field that is set."""

    account: str | None = None
    #: Only those of these accounts, by their lanes and by their commands.
    accounts: Collection[str] | None = None
    operation: str | None = None
    result: Result | None = None
    code: str | None = None
    room: str | None = None
    #: False: only messages that no worker could read; True: all others.
    readable: bool | None = None
    #: Only those that died at least this long ago.
    older_than: timedelta | None = None
    #: Only those that died at most this long ago.
    younger_than: timedelta | None = None
    #: Only those that had died by this moment, by Redis' clock, such as :attr:`LetterCounts.at`.
    died_by: datetime | None = None

    def fits(self, letter: DeadLetter) -> bool:
        """Whether `letter` matches. The age and the moment are not checked here."""
        wanted = (self.account, self.operation, self.result, self.code, self.room, self.readable)
        readable = letter.outcome is not None
        actual = (letter.account, letter.operation, letter.result, letter.code, letter.room, readable)
        if not all(want in {None, has} for want, has in zip(wanted, actual, strict=True)):
            return False
        return self.accounts is None or {letter.account, lane_of(letter).account} <= set(self.accounts)


#: The position of a letter in the order of letters: when it died, and its id.
Position = tuple[datetime, str]


def position_of(letter: DeadLetter) -> Position:
    """Return the position of a letter."""
    return letter.died_at, letter.id


class LetterCounts(BaseModel):
    """How many dead letters a bulk act has requeued or dropped; in a dry run: how many it would."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: When the act began, by Redis' clock. It leaves out letters that died later.
    at: datetime
    dry_run: bool = False
    letters: int = 0
    #: Letters that matched and are neither requeued nor dropped: gone meanwhile, or without a command.
    failed: int = 0
    #: The letters, by account, operation, result (``unreadable``: of a message that could not be read) and code.
    accounts: Mapping[str, int] = Field(default_factory=dict)
    operations: Mapping[str, int] = Field(default_factory=dict)
    results: Mapping[str, int] = Field(default_factory=dict)
    codes: Mapping[str, int] = Field(default_factory=dict)
    #: Why the first of the failed ones failed.
    problems: tuple[str, ...] = ()
    #: Whether the time was over before all that match were handled.
    more: bool = False

    def plus(self, letters: Iterable[DeadLetter], problems: Iterable[str] = ()) -> "LetterCounts":
        """Return the sum with more letters, and with letters that failed."""
        letters, problems = list(letters), list(problems)
        codes = _sum(self.codes, (letter.code for letter in letters if letter.code))
        return self.model_copy(
            update={
                "letters": self.letters + len(letters),
                "failed": self.failed + len(problems),
                "accounts": _sum(self.accounts, (letter.account for letter in letters)),
                "operations": _sum(self.operations, (letter.operation for letter in letters)),
                "results": _sum(self.results, (letter.result or UNREADABLE for letter in letters)),
                "codes": dict(codes.most_common(_MOST_CODES)),
                "problems": (*self.problems, *problems)[:_MOST_PROBLEMS],
            }
        )


def _sum(counts: Mapping[str, int], more: Iterable[str]) -> "Counter[str]":
    return Counter(counts) + Counter(more)


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter as read from Redis."""

    letter: DeadLetter
    membership: Membership | None
    #: The headers of tracing for a requeued job's message.
    trace: Mapping[str, Any]

    @classmethod
    def read(cls, letter_id: str, died_us: float, fields: Mapping[bytes, bytes]) -> Self:
        """Read a dead letter from the fields of its hash."""
        texts = {name.decode(): value.decode(errors="backslashreplace") for name, value in fields.items()}
        body = DeadLetterBody.model_validate_json(texts["letter"]) if texts.get("letter") else None
        lane = Lane.from_name(texts.get("lane", ""))
        letter = DeadLetter(
            id=letter_id,
            account=lane.account if body is None else body.outcome.account,
            operation=lane.operation if body is None else body.outcome.operation,
            died_at=datetime.fromtimestamp(died_us / 1_000_000, UTC),
            room=texts.get("room") or None,
            outcome=None if body is None else body.outcome,
            command=None if body is None else body.command,
            message=texts.get("message") or None,
        )
        if body is None:
            return cls(letter, None, {})
        return cls(letter, body.membership, body.trace or {})


def dead_letter_record(
    message: object,
    membership: Membership | None,
    outcome: Outcome,
    member_result: MemberResult | None,
    *,
    understood: bool = True,
    trace: Callable[[], Mapping[str, Any]] = dict,
) -> DeadLetterRecord | None:
    """Return the dead letter of a job that has ended; None if its end needs no attention.

    `message` is the command's JSON data, if the message holds any. `understood`: a worker could read it as a command.
    For a job of a shutdown, `member_result` holds the final outcome of the stream task; None: the task goes on.
    `trace` returns the headers of tracing for the message of a requeued job.
    """
    if member_result is None:
        if membership is not None or not outcome.result.needs_person:
            return None
    elif not member_result.attention:
        return None
    else:
        outcome = Outcome.model_validate_json(member_result.outcome)
    command = dict(message) if isinstance(message, Mapping) else None
    if membership is not None and membership.verification is not None:  # a status job: its stop is requeued instead
        stopped, params = membership.verification.stopped, membership.verification.params
        command = {"v": VERSION, "operation": stopped.operation, "account": stopped.account, "params": params}
        membership = membership.model_copy(update={"verification": None})
    if command is not None and isinstance(command.get("shutdown"), Mapping):  # a control job's is an id
        del command["shutdown"]
    body = DeadLetterBody(outcome=outcome, command=command, membership=membership, trace=dict(trace()) or None)
    try:
        text = body.model_dump_json(exclude_none=True, by_alias=True)
    except PydanticSerializationError:  # half a surrogate pair, or a thousand brackets
        command = None
        escaped = (outcome.message or "").encode(errors="backslashreplace").decode()
        text = DeadLetterBody(outcome=outcome.model_copy(update={"message": escaped})).model_dump_json(
            exclude_none=True, by_alias=True
        )
    return DeadLetterRecord(outcome.job_id, text, quote=not understood or command is None)


def lane_of(letter: DeadLetter) -> Lane:
    """Return the lane of a letter's command; if the command is invalid, the lane from which it was taken."""
    try:
        return ReceivedCommand.from_message(letter.command).lane
    except InvalidCommand:
        return Lane(letter.account, letter.operation)


def no_command(letter: DeadLetter) -> str:
    """Return why a letter cannot be requeued."""
    return f"dead letter {letter.id} has no command: {letter.reason}"


def requeued_id(letter: DeadLetter, lane: Lane) -> str:
    """Return the id of the job that a requeued letter becomes. It is deterministic, so a letter cannot become two."""
    # Other producers may reuse a job's id, so two letters may have the same one.
    step = f"{letter.id} {letter.died_at.isoformat()} requeued"
    return f"{lane.name}.{hashlib.sha256(step.encode()).hexdigest()[:32]}"


def requeued_command(command: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a command for requeueing: enqueued now, and without an expiry."""
    unexpiring = {key: value for key, value in command.items() if key != "expires_at"}
    return {**unexpiring, "enqueued_at": now.timestamp()}
