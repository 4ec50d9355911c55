"""Answers: the outcomes of recorded commands, from the answers that a test has set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop.operations import Kind, Operation, StatusField
from streamstop.outcomes import Outcome, Result, State, Status

#: The commands that an answer is for: those of an operation, or those for which a predicate is true.
Which = type[Operation] | Callable[[Command], bool]
_RESULTS_OF_ONE_KIND = {
    Result.STOPPED: Kind.STOP,
    Result.ALREADY_STOPPED: Kind.STOP,
    Result.STATUS: Kind.STATUS,
    Result.VERIFIED: Kind.STOP,
    Result.NOT_VERIFIED: Kind.STOP,
    Result.UNVERIFIABLE: Kind.STOP,
}
_NEVER_CALLED = frozenset({Result.EXPIRED, Result.CANCELLED})


@dataclass(frozen=True)
class Answer:
    """How the commands that `which` selects end. Raises :class:`ValueError` for a result that they cannot have."""

    which: Which
    result: Result
    #: The vendor's value, for a status operation.
    raw: int | str | None
    #: Other fields of the outcome.
    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        if isinstance(self.which, type):
            _check_kind(self.result, self.which)

    def fits(self, command: Command) -> bool:
        """Whether the answer is for this command."""
        if isinstance(self.which, type):
            return isinstance(command.operation, self.which)
        return self.which(command)


def outcome_of(command: Command, job_id: str, enqueued_at: datetime, answer: Answer | None) -> Outcome:
    """Return the command's outcome by `answer`. Without an answer, a stop succeeds and a status says that it is over.

    Raises :class:`ValueError` for a result that the operation cannot have.
    """
    declaration = type(command.operation)
    stop = declaration.spec.kind is Kind.STOP
    result = answer.result if answer is not None else Result.STOPPED if stop else Result.STATUS
    _check_kind(result, declaration)
    fields = dict(answer.fields) if answer is not None else {}
    if result is Result.STATUS:
        field = declaration.spec.status
        fields["status"] = None if field is None else _status(field, None if answer is None else answer.raw)
        fields["reply"] = None if field is not None else fields.get("reply") or {}
    calls = 0 if result in _NEVER_CALLED else 1
    return Outcome(
        result=result,
        job_id=job_id,
        operation=declaration.spec.id,
        account=command.account,
        attempts=calls,
        calls=calls,
        enqueued_at=enqueued_at,
        ended_at=datetime.now(UTC),
        **fields,
    )


def cancelled_outcome(job_id: str, lane: Lane) -> Outcome:
    """Return the outcome of a cancelled job."""
    return Outcome(
        result=Result.CANCELLED,
        job_id=job_id,
        account=lane.account,
        operation=lane.operation,
        ended_at=datetime.now(UTC),
    )


def as_verified(outcome: Outcome, command: Command) -> Outcome:
    """Return `outcome` after its verification, for a vendor whose status confirms every stop."""
    if outcome.result not in {Result.STOPPED, Result.ALREADY_STOPPED}:
        return outcome
    twin = command.operation.spec.status_twin
    return outcome.model_copy(update={"result": Result.UNVERIFIABLE if twin is None else Result.VERIFIED})


def _check_kind(result: Result, declaration: type[Operation]) -> None:
    kind = declaration.spec.kind
    if _RESULTS_OF_ONE_KIND.get(result, kind) is not kind:
        raise ValueError(f"{declaration.spec.id} is a {kind.value} operation: it does not end {result.value!r}")


def _status(field: StatusField, raw: int | str | None) -> Status:
    """Return the status that the operation's table gives for `raw`, or for its first value that means over."""
    reply: Any = raw if raw is not None else next((v for v, s in field.states.items() if s is State.STOPPED), None)
    for name in reversed(field.path.split(".")):
        reply = {name: reply}
    return field.read(reply)
