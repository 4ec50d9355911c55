"""What the command line prints: text from outcomes, pure. Nothing that a vendor said reaches a terminal unescaped."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamstop.commands import Command
from streamstop.lanes import Lane, LaneView
from streamstop.operations import OPERATIONS, Operation
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral

#: Controls, invisible marks (bidirectional overrides among them), lone surrogates, line and paragraph separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_OPEN = "open"
#: Docstrings' literals and references: ``text``, :class:`Text`.
_MARKUP = re.compile(r"(?::\w+:)?`+([^`]+)`+")


def printable(text: str) -> str:
    """Return `text` with everything escaped that could move, colour or reorder what a terminal shows."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


@dataclass(frozen=True)
class Row:
    """A job that was asked for, and its outcome if it has ended."""

    job_id: str
    command: Command
    outcome: Outcome | None

    def to_json(self) -> str:
        """Return the line that ``--json`` prints."""
        return json_line(self.job_id, self.command.operation.spec.id, self.command.account, self.outcome)


def json_line(
    job_id: str | None, operation: str | None, account: str | None, outcome: Outcome | None, **more: Any
) -> str:
    """Return a job as one line of JSON, in ASCII."""
    told = None if outcome is None else outcome.model_dump(mode="json")
    return json.dumps({"job_id": job_id, "operation": operation, "account": account, **more, "outcome": told})


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield an aligned line for each job: how it ended, its id, its parameters, and what the vendor said."""
    results = [_OPEN if row.outcome is None else row.outcome.result.value for row in rows]
    result_width = max(map(len, results), default=0)
    id_width = max((len(row.job_id) for row in rows), default=0)
    for row, result in zip(rows, results, strict=True):
        params = " ".join(f"{key}={value}" for key, value in row.command.operation.params.items())
        said = "" if row.outcome is None else detail(row.outcome)
        parts = [result.ljust(result_width), row.job_id.ljust(id_width), params, said]
        yield printable("  ".join(part for part in parts if part)).rstrip(" ")


def summary(rows: Sequence[Row]) -> str:
    """Return how many jobs ended how: ``3 jobs: 2 stopped, 1 not_found``."""
    counts = Counter(None if row.outcome is None else row.outcome.result for row in rows)
    told = [f"{counts[result]} {result.value}" for result in Result if counts[result]]
    if counts[None]:
        told.append(f"{counts[None]} {_OPEN}")
    return f"{jobs(len(rows))}: {', '.join(told)}"


def jobs(count: int) -> str:
    """Return a number of jobs in words."""
    return f"{count} job" if count == 1 else f"{count} jobs"


def detail(outcome: Outcome) -> str:
    """Return what is worth saying of an outcome beside its result."""
    if not outcome.ok:
        return ": ".join(part for part in (outcome.code, outcome.message) if part)
    if outcome.status is not None:
        operation = OPERATIONS.get(outcome.operation)
        field = operation.spec.status.path if operation is not None and operation.spec.status is not None else "raw"
        return f"{outcome.status.state.value} ({field} = {json.dumps(outcome.status.raw, ensure_ascii=False)})"
    return "" if outcome.reply is None else json.dumps(outcome.reply, ensure_ascii=False)


def job_page(job_id: str, seen: Outcome | Deferral | None, view: LaneView | None) -> Iterator[str]:
    """Yield everything that is known of one job, a fact a line; `view` is its lane, for a job that is open."""
    match seen:
        case Outcome():
            facts = _ended(seen)
        case Deferral():
            facts = {"state": "deferred", "reason": seen.reason, "due": seen.due.isoformat()}
        case None:
            facts = {"state": "open: not called yet, or no such job, or it ended so long ago that its outcome is gone"}
    if view is not None:
        facts["lane"] = _lane(view)
    width = max(map(len, facts))
    yield printable(f"{'job'.ljust(width)}  {job_id}")
    for name, fact in facts.items():
        yield printable(f"{name.ljust(width)}  {fact}")


def job_json(job_id: str, seen: Outcome | Deferral | None) -> str:
    """Return everything that is known of one job as one line of JSON."""
    outcome = seen if isinstance(seen, Outcome) else None
    deferral = {"reason": seen.reason, "due": seen.due.isoformat()} if isinstance(seen, Deferral) else None
    lane = Lane.of_job(job_id)
    known = outcome or lane
    operation, account = (None, None) if known is None else (known.operation, known.account)
    state = "ended" if outcome is not None else _OPEN if deferral is None else "deferred"
    return json_line(job_id, operation, account, outcome, state=state, deferral=deferral)


def _ended(outcome: Outcome) -> dict[str, str]:
    facts = {"state": f"ended: {outcome.result.value}", "operation": outcome.operation, "account": outcome.account}
    if outcome.params:
        facts["parameters"] = " ".join(f"{name}={value}" for name, value in outcome.params.items())
    if outcome.status is not None or outcome.reply is not None:
        facts["status"] = detail(outcome)
    for name in ("code", "message", "request_id", "attempts", "calls", "enqueued_at", "ended_at"):
        value = getattr(outcome, name)
        if value is not None:
            facts[name] = value.isoformat() if name.endswith("_at") else str(value)
    return facts


def _lane(view: LaneView) -> str:
    rests = f", rests for {view.rest.total_seconds():.1f} s" if view.rest else ""
    pace = "" if view.pace is None else f", {view.pace:.3g} calls/s"
    return f"{view.waiting} waiting, {view.in_flight} in flight, {view.deferred} deferred{pace}{rests}"


def operation_page(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about one operation, from what :func:`operation_facts` returned."""
    yield f"{facts['id']}  ({facts['kind']}, {facts['vendor']}, {facts['limit']:.4g} calls/s)"
    yield f"  {facts['about']}"
    width = max(len(parameter["name"]) for parameter in facts["parameters"])
    for parameter in facts["parameters"]:
        required = "required" if parameter["required"] else "optional"
        yield f"  {parameter['name'].ljust(width)}  {required}  {_allowed(parameter)}"
    yield f"  {facts['source']}"


def operation_facts(operation_id: str) -> dict[str, Any]:
    """Return what people need to know of an operation, as JSON data."""
    declaration = OPERATIONS[operation_id]
    schema = declaration.model_json_schema()
    required = schema.get("required", [])
    return {
        "id": operation_id,
        "kind": declaration.spec.kind.value,
        "vendor": declaration.spec.product.vendor.name,
        "limit": declaration.spec.limit,
        "about": about(declaration),
        "parameters": [
            {"name": name, "required": name in required, **_bounds(told)} for name, told in schema["properties"].items()
        ],
        "source": declaration.spec.source,
    }


def about(declaration: type[Operation]) -> str:
    """Return an operation's docstring as plain text on one line."""
    return _MARKUP.sub(r"\1", " ".join((declaration.__doc__ or "").split()))


def _bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return type and bounds of a parameter, from its JSON schema."""
    told = next((one for one in schema.get("anyOf", ()) if one["type"] != "null"), schema)
    bounds: dict[str, Any] = {"type": told["type"]}
    if "enum" in told:
        bounds["known_values"] = told["enum"]
    if "maxLength" in told:
        bounds["max_length"] = told["maxLength"]
    if told["type"] == "integer":
        bounds["minimum"] = told["minimum"] if "minimum" in told else told["exclusiveMinimum"] + 1
        bounds["maximum"] = told["maximum"] if "maximum" in told else told["exclusiveMaximum"] - 1
    return bounds


def _allowed(parameter: Mapping[str, Any]) -> str:
    if "known_values" in parameter:
        return f"one of {', '.join(parameter['known_values'])}; a newer one with --any-region"
    if parameter["type"] == "integer":
        return f"whole number, {parameter['minimum']} to {parameter['maximum']}"
    return f"text, up to {parameter['max_length']} characters"


def lines(parts: Iterable[str]) -> str:
    """Return lines as one text, so that many are one write."""
    return "\n".join(parts)
