"""Parses commands from JSON lines and from command-line arguments, without I/O.

A line is one JSON object::

    {"operation": "live.StopMPUTask", "account": "live-cn", "params": {"AppId": "…", "TaskId": "…"},
     "priority": 3, "expires_in": 600}

The command line's options are the defaults of ``account``, ``priority`` and ``expires_in`` (seconds).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from streamstop import operations
from streamstop._core.commands import LONGEST_EXPIRY, Command
from streamstop._core.durations import positive_duration
from streamstop.cli._shared.output import printable
from streamstop.errors import InvalidCommand
from streamstop.operations import AnyRegion, Kind, Operation

#: The keys that a line may have.
LINE_KEYS = ("operation", "account", "params", "priority", "expires_in")
_MAX_LISTED_PROBLEMS = 10


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What the options set for every command that does not set it itself."""

    account: str | None = None
    priority: int = 0
    expires_in: timedelta | None = None
    any_region: bool = False


@dataclass(frozen=True)
class NumberedCommand:
    """A command, and the number of the line that it was read from."""

    number: int
    command: Command


class InvalidLines(InvalidCommand):
    """Some lines are not valid. The message lists them, up to ten."""

    def __init__(self, problems: Mapping[int, InvalidCommand]) -> None:
        messages = [f"line {number}: {printable(str(problem))}" for number, problem in sorted(problems.items())]
        if len(messages) > _MAX_LISTED_PROBLEMS:
            messages[_MAX_LISTED_PROBLEMS:] = [f"and {len(messages) - _MAX_LISTED_PROBLEMS} more lines are not valid"]
        super().__init__("\n".join(messages), field=problems[min(problems)].field)
        self.problems = problems


def parse_lines(
    lines: Iterable[bytes], kind: Kind, defaults: Defaults, keys: Sequence[str] = LINE_KEYS
) -> list[NumberedCommand]:
    """Parse JSON lines; skip blank ones.

    Raises :class:`InvalidLines`, which lists the problem of each line, once all lines are parsed.
    """
    commands: list[NumberedCommand] = []
    problems: dict[int, InvalidCommand] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            commands.append(NumberedCommand(number, parse_line(line, kind, defaults, keys)))
        except InvalidCommand as problem:
            problems[number] = problem
    if problems:
        raise InvalidLines(problems)
    return commands


def parse_line(line: bytes, kind: Kind, defaults: Defaults, keys: Sequence[str] = LINE_KEYS) -> Command:
    """Parse one JSON line. Raises :class:`~streamstop.errors.InvalidCommand`, which names the field."""
    data = _parse_object(line)
    for key in data:
        if key not in keys:
            raise InvalidCommand(f"{key!r} is not a key of a line (keys: {', '.join(keys)})", field=key)
    operation_id = data.get("operation")
    if not isinstance(operation_id, str):
        raise InvalidCommand("operation is required and must be text", field="operation")
    declaration = _find_operation(operation_id, kind)
    params = data.get("params", {})
    if not isinstance(params, dict):
        raise InvalidCommand("params must be a JSON object", field="params")
    return _build_command(
        operations.parse(declaration.spec.id, params, any_region=defaults.any_region),
        data.get("account", defaults.account),
        data.get("priority", defaults.priority),
        positive_duration(data["expires_in"], "expires_in", LONGEST_EXPIRY)
        if "expires_in" in data
        else defaults.expires_in,
        or_else=", or name it in the line",
    )


def parse_words(operation_id: str, words: Iterable[str], kind: Kind, defaults: Defaults) -> Command:
    """Parse ``OPERATION Key=Value …``. Raises :class:`~streamstop.errors.InvalidCommand`, which names the field."""
    declaration = _find_operation(operation_id, kind)
    params: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise InvalidCommand(f"parameter {word!r} must be Key=Value, such as TaskId=t-1", field=key or None)
        if key in params:
            raise InvalidCommand(f"{key} is given twice", field=key)
        params[key] = AnyRegion(value) if key == "Region" and defaults.any_region else value
    operation = declaration.from_strings(params)
    return _build_command(operation, defaults.account, defaults.priority, defaults.expires_in)


def _find_operation(operation_id: str, kind: Kind) -> type[Operation]:
    """Return the declaration of `operation_id`. Raises InvalidCommand where it is unknown or of the other kind."""
    declaration = operations.find(operation_id)
    actual = declaration.spec.kind
    if actual is not kind:
        raise InvalidCommand(
            f"operation {operation_id} is a {actual.value} operation, not a {kind.value} operation: "
            f"`streamstop {actual.value}` takes it",
            field="operation",
        )
    return declaration


def _build_command(
    operation: Operation, account: Any, priority: Any, expires_in: timedelta | None, *, or_else: str = ""
) -> Command:
    if account is None:
        raise InvalidCommand(f"account is required: give --account NAME{or_else}", field="account")
    return Command(operation=operation, account=account, priority=priority, expires_in=expires_in)


def _parse_object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(
            line.decode("utf-8-sig"), object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant
        )
    except InvalidCommand:
        raise
    except UnicodeDecodeError:
        raise InvalidCommand("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InvalidCommand(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):  # from int(), and from the nesting
        raise InvalidCommand("not JSON that can be read: a number is too long or the nesting too deep") from None
    if not isinstance(data, dict):
        raise InvalidCommand("not a JSON object")
    return data


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise InvalidCommand(f"{key!r} is given twice", field=key)
        data[key] = value
    return data


def _reject_constant(name: str) -> NoReturn:
    raise InvalidCommand(f"not JSON: JSON has no {name}")
