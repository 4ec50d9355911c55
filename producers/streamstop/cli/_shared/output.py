"""Text for terminals and scripts, without I/O. Whatever a vendor or a user wrote is escaped for the terminal."""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from streamstop._core.answers import Became, CallAnswer
from streamstop._core.durations import duration_text
from streamstop.operations import OPERATIONS
from streamstop.outcomes import Outcome

#: Controls, invisible marks (bidirectional overrides among them), lone surrogates, line and paragraph separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Escape every character that could move the cursor, change colours or reorder text on a terminal."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


def clip(text: str, width: int) -> str:
    """Shorten `text` to `width` characters; an ellipsis marks the cut."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def join_lines(lines: Iterable[str]) -> str:
    """Join lines into one text, so that many lines are one write."""
    return "\n".join(lines)


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a printable line for each row; each column is as wide as its widest cell."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(" ")


def aligned_facts(facts: Mapping[str, str]) -> Iterator[str]:
    """Yield a printable line for each fact: its name, then its value."""
    width = max(map(len, facts))
    for name, value in facts.items():
        yield printable(f"{name.ljust(width)}  {value}")


def params_text(params: Mapping[str, Any]) -> str:
    """Return an operation's parameters as they are typed: ``AppId=a TaskId=t``."""
    return " ".join(f"{name}={value}" for name, value in params.items())


def outcome_detail(outcome: Outcome) -> str:
    """Return what the vendor answered beyond the result: an error, a status or a whole reply."""
    if not outcome.ok:
        return ": ".join(part for part in (outcome.code, outcome.message) if part)
    if outcome.status is not None:
        operation = OPERATIONS.get(outcome.operation)
        field = operation.spec.status.path if operation is not None and operation.spec.status is not None else "raw"
        return f"{outcome.status.state.value} ({field} = {json.dumps(outcome.status.raw, ensure_ascii=False)})"
    return "" if outcome.reply is None else json.dumps(outcome.reply, ensure_ascii=False)


def json_line(value: BaseModel) -> str:
    """Return `value` as one line of ASCII JSON."""
    return json.dumps(value.model_dump(mode="json"))


def moment_text(moment: datetime) -> str:
    """Return a moment to the second: ``2026-01-01T00:00:00Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment_and_age(moment: datetime, now: datetime) -> str:
    """Return a moment, and how far from `now` it is: ``2026-01-01T00:00:00Z (5 min ago)``."""
    far = f"in {duration_text(moment - now)}" if moment > now else f"{duration_text(now - moment)} ago"
    return f"{moment_text(moment)} ({far})"


def outcome_facts(outcome: Outcome, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield what is known of an outcome beside its result, its account and its operation: names and texts."""
    for name in ("code", "message", "request_id", "attempts", "calls", "enqueued_at", "ended_at"):
        value = getattr(outcome, name)
        if value is not None:
            text = moment_and_age(value, now) if isinstance(value, datetime) else str(value)
            yield name.replace("_", " "), text
        if name == "calls" and outcome.call_seconds is not None:
            yield "last call", f"took {outcome.call_seconds:g} s"


def answer_facts(answers: Iterable[CallAnswer], now: datetime) -> Iterator[tuple[str, str]]:
    """Yield each call after which its job went on: its number, and the answer. The last answer is in the outcome."""
    for answer in answers:
        if answer.became is not Became.ENDED:
            said = ": ".join(part for part in (answer.code, answer.message) if part)
            request_id = "" if answer.request_id is None else f"request id {answer.request_id}"
            took = "" if answer.seconds is None else f"took {answer.seconds:g} s"
            at = "" if answer.at is None else moment_and_age(answer.at, now)
            yield f"call {answer.number}", "; ".join(filter(None, (at, answer.became.value, said, request_id, took)))


def answers_data(answers: Iterable[CallAnswer]) -> list[dict[str, Any]]:
    """Return answers as data for JSON."""
    return [answer.model_dump(mode="json") for answer in answers]


def job_json_line(
    job_id: str | None, operation: str | None, account: str | None, outcome: Outcome | None, **more: Any
) -> str:
    """Return a job as one line of ASCII JSON."""
    outcome_data = None if outcome is None else outcome.model_dump(mode="json")
    return json.dumps({"job_id": job_id, "operation": operation, "account": account, **more, "outcome": outcome_data})
