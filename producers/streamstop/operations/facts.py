"""Facts: what users need to know of an operation, as data."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from streamstop.operations import OPERATIONS, Kind, Operation

#: Literals and references in docstrings: ``text``, :class:`Text`.
_MARKUP = re.compile(r"(?::\w+:)?`+([^`]+)`+")


class ParameterFacts(BaseModel):
    """A parameter of an operation. Only the bounds of its type are set."""

    model_config = ConfigDict(frozen=True)

    name: str
    required: bool
    #: ``string`` or ``integer``.
    type: str
    #: The values that this version knows; the vendor may have newer ones.
    known_values: list[str] | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None


class OperationFacts(BaseModel):
    """An operation: its parameters under the vendor's names, and its limit."""

    model_config = ConfigDict(frozen=True)

    #: ``<product>.<Action>``.
    id: str
    kind: Kind
    vendor: str
    #: The vendor's limit in calls per second, for one account.
    limit: float
    #: What it does, in a sentence or two.
    about: str
    parameters: list[ParameterFacts]
    #: The address of the vendor's documentation.
    source: str


def facts_of(operation_id: str) -> OperationFacts:
    """Return the facts of a declared operation. Raises KeyError if there is none."""
    declaration = OPERATIONS[operation_id]
    schema = declaration.model_json_schema()
    required = schema.get("required", [])
    return OperationFacts(
        id=operation_id,
        kind=declaration.spec.kind,
        vendor=declaration.spec.product.vendor.name,
        limit=declaration.spec.limit,
        about=operation_summary(declaration),
        parameters=[
            ParameterFacts(name=name, required=name in required, **_bounds(parameter))
            for name, parameter in schema["properties"].items()
        ],
        source=declaration.spec.source,
    )


def operation_summary(declaration: type[Operation]) -> str:
    """Return an operation's docstring as plain text on one line."""
    return _MARKUP.sub(r"\1", " ".join((declaration.__doc__ or "").split()))


def _bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter's type and bounds, from its JSON schema."""
    value = next((option for option in schema.get("anyOf", ()) if option["type"] != "null"), schema)
    bounds: dict[str, Any] = {"type": value["type"]}
    if "enum" in value:
        bounds["known_values"] = value["enum"]
    if "maxLength" in value:
        bounds["max_length"] = value["maxLength"]
    if value["type"] == "integer":
        bounds["minimum"] = value["minimum"] if "minimum" in value else value["exclusiveMinimum"] + 1
        bounds["maximum"] = value["maximum"] if "maximum" in value else value["exclusiveMaximum"] - 1
    return bounds
