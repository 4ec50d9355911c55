"""The JSON Schemas of what ``--json`` prints, made from the models that are printed.

::

    python -m tests.support.json_schemas     # writes docs/reference/schemas

Each file is the schema of one line. A line has every field, ``null`` where there is no value. Newer versions may add
fields, so no further field is forbidden.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel, RootModel
from pydantic.json_schema import GenerateJsonSchema

from streamstop import (
    CallAnswer,
    DeadLetter,
    Drained,
    ErrorCount,
    Event,
    Finding,
    Hold,
    LaneView,
    Limit,
    Outcome,
    Pause,
    Progress,
    Result,
    Sighting,
    WorkerView,
)
from tests.support.documentation import ROOT

FOLDER = ROOT / "docs" / "reference" / "schemas"
_MOMENTS = FormatChecker(())
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Roles and literals of docstrings.
_MARKUP = re.compile(r"(?::\w+:)?`+~?([^`]+)`+")


class StopLine(BaseModel):
    """A job, and its outcome if it has ended."""

    job_id: str
    operation: str
    account: str
    outcome: Outcome | None


class DeferralData(BaseModel):
    """Why a job waits for another call, and until when."""

    reason: str
    due: datetime


class JobLine(BaseModel):
    """A job: open, deferred or ended."""

    job_id: str
    operation: str | None
    account: str | None
    state: Literal["open", "deferred", "ended"]
    deferral: DeferralData | None
    answers: list[CallAnswer] | None
    outcome: Outcome | None


class LetterSummary(BaseModel):
    """What a dead letter is counted by."""

    result: Result | None
    code: str | None
    reason: str


class ShownLetter(LetterSummary):
    """What else is shown of one dead letter."""

    answers: list[CallAnswer]


class RequeueLine(BaseModel):
    """A dead letter that was requeued, and its job, or why it was not."""

    job_id: str | None
    operation: str | None
    account: str | None
    letter: str
    problem: str | None
    outcome: Outcome | None


class DropLine(BaseModel):
    """A dead letter that was dropped, or why it was not."""

    letter: str
    dropped: bool
    problem: str | None


class PauseLine(Pause):
    """A pause."""

    kind: Literal["pause"]


class LimitLine(Limit):
    """A limit that a person has set."""

    kind: Literal["limit"]


class HoldLine(Hold):
    """An account whose key its vendor refuses."""

    kind: Literal["hold"]


class RegisterLine(BaseModel):
    """Tasks that were registered, and the shutdown that they joined."""

    room: str
    tasks: int
    shutdown: str | None


class UnregisterLine(BaseModel):
    """Tasks that were to be removed from a room, and how many of them were registered."""

    room: str
    tasks: int
    unregistered: int


class RoomStopLine(BaseModel):
    """A room and its shutdown."""

    room: str
    shutdown: str


class ProgressSummary(BaseModel):
    """What is computed of a progress."""

    ended: int
    pending: int
    seconds_left: float | None


class RoomLine(BaseModel):
    """A room, and the progress of its open or latest shutdown."""

    room: str
    registered: int
    shutdown: Progress | None


class ParameterData(BaseModel):
    """A parameter of an operation."""

    name: str
    required: bool
    type: Literal["string", "integer"]


class OperationLine(BaseModel):
    """An operation."""

    id: str
    kind: Literal["stop", "status"]
    vendor: str
    limit: float
    about: str
    parameters: list[ParameterData]
    source: str


Line = type[BaseModel]
#: What a line is, by file name: the command's, or that of the value. Of two models, a line has the fields of both.
LINES: Mapping[str, Line | tuple[Line, Line]] = {
    "dead-drop": DropLine,
    "dead-list": (DeadLetter, LetterSummary),
    "dead-requeue": RequeueLine,
    "dead-show": (DeadLetter, ShownLetter),
    "doctor": Finding,
    "drain": Drained,
    "errors": ErrorCount,
    "events": Event,
    "find": Sighting,
    "job": JobLine,
    "lanes": LaneView,
    "limit": RootModel[LimitLine],
    "operations": OperationLine,
    "outcome": Outcome,
    "pause": RootModel[PauseLine | HoldLine],
    "progress": Progress,
    "room-register": RegisterLine,
    "room-show": RoomLine,
    "room-stop": RoomStopLine,
    "room-unregister": UnregisterLine,
    "room-wait": (Progress, ProgressSummary),
    "stop": StopLine,
    "workers": WorkerView,
}


class _Printed(GenerateJsonSchema):
    """Every field is printed, whether it has a default or not."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # as pydantic has it
        """Return True."""
        return True


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of one kind of line."""
    line = LINES[name]
    schema = _merged(*line) if isinstance(line, tuple) else _of_model(line)
    if name == "room-show":
        progress = schema_of("room-wait")
        schema["$defs"] |= progress.pop("$defs")
        schema["$defs"]["Progress"] = {key: value for key, value in progress.items() if key != "$schema"}
    return {"$schema": _DIALECT, "title": name, **schema}


def _of_model(model: Line) -> dict[str, Any]:
    schema: dict[str, Any] = _plain(model.model_json_schema(mode="serialization", schema_generator=_Printed))
    return schema


def _merged(model: Line, more: Line) -> dict[str, Any]:
    schema, added = _of_model(model), _of_model(more)
    for key in ("$defs", "properties"):
        schema[key] = schema.get(key, {}) | added.get(key, {})
    schema["required"] = [*schema["required"], *added["required"]]
    return schema


def schema_texts() -> dict[str, str]:
    """Return the text of every file, by its name."""
    return {f"{name}.json": json.dumps(schema_of(name), indent=2) + "\n" for name in LINES}


def problems(name: str, line: Any) -> list[str]:
    """Return why a line does not fit the schema of its kind."""
    validator = Draft202012Validator(schema_of(name), format_checker=_MOMENTS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(line)]


@_MOMENTS.checks("date-time", ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def _plain(value: Any) -> Any:
    """Return a schema without titles, defaults and the markup of docstrings."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if key not in {"title", "default"} or isinstance(inner, dict)}
    return {
        key: _MARKUP.sub(r"\1", " ".join(inner.split()))
        if key == "description" and isinstance(inner, str)
        else _plain(inner)
        for key, inner in kept.items()
    }


def main(folder: Path = FOLDER) -> None:
    """Write the files, and delete others."""
    folder.mkdir(exist_ok=True)
    texts = schema_texts()
    for path in folder.glob("*.json"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
