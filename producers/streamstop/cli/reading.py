"""From text to commands, pure: everything is read and found valid before anything can be enqueued.

A line of a file is one JSON object::

    {"operation": "live.StopMPUTask", "account": "live-cn", "params": {"AppId": "…", "TaskId": "…"},
     "priority": 3, "expires_in": 600}

``account``, ``priority`` and ``expires_in`` (seconds) have the command line's options as their defaults.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from streamstop import operations
from streamstop.cli.showing import printable
from streamstop.commands import Command
from streamstop.errors import InvalidCommand
from streamstop.operations import AnyRegion, Kind, Operation

#: What a line can say.
KEYS = ("operation", "account", "params", "priority", "expires_in")
#: How many wrong lines a message names.
_MOST_TOLD = 10


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What the options say for every command that does not say it itself."""

    account: str | None = None
    priority: int = 0
    expires_in: timedelta | None = None
    any_region: bool = False


@dataclass(frozen=True)
class Line:
    """A command, and the line of the file on which it stands."""

    number: int
    command: Command


class InvalidLines(InvalidCommand):
    """Some lines are wrong; the message names each of them, up to ten."""

    def __init__(self, problems: Mapping[int, InvalidCommand]) -> None:
        told = [f"line {number}: {printable(str(problem))}" for number, problem in sorted(problems.items())]
        if len(told) > _MOST_TOLD:
            told[_MOST_TOLD:] = [f"and {len(told) - _MOST_TOLD} more lines are wrong"]
        super().__init__("\n".join(told), field=problems[min(problems)].field)
        self.problems = problems


def read_lines(lines: Iterable[bytes], kind: Kind, defaults: Defaults, keys: Sequence[str] = KEYS) -> list[Line]:
    """Read a file of JSON lines, blank ones skipped. Raises :class:`InvalidLines`, which tells every wrong one."""
    read: list[Line] = []
    problems: dict[int, InvalidCommand] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            read.append(Line(number, read_line(line, kind, defaults, keys)))
        except InvalidCommand as problem:
            problems[number] = problem
    if problems:
        raise InvalidLines(problems)
    return read


def read_line(line: bytes, kind: Kind, defaults: Defaults, keys: Sequence[str] = KEYS) -> Command:
    """Read one line. Raises :class:`~streamstop.errors.InvalidCommand`, which names the field."""
    data = _object(line)
    for key in data:
        if key not in keys:
            raise InvalidCommand(f"{key!r} is not a key of a line (keys: {', '.join(keys)})", field=key)
    operation_id = data.get("operation")
    if not isinstance(operation_id, str):
        raise InvalidCommand("operation is required, as text", field="operation")
    declaration = of_kind(operation_id, kind)
    params = data.get("params", {})
    if not isinstance(params, dict):
        raise InvalidCommand("params must be a JSON object", field="params")
    return _command(
        operations.parse(declaration.spec.id, params, any_region=defaults.any_region),
        data.get("account", defaults.account),
        data.get("priority", defaults.priority),
        _duration(data["expires_in"]) if "expires_in" in data else defaults.expires_in,
    )


def read_words(operation_id: str, words: Iterable[str], kind: Kind, defaults: Defaults) -> Command:
    """Read ``OPERATION Key=Value …``. Raises :class:`~streamstop.errors.InvalidCommand`, which names the field."""
    declaration = of_kind(operation_id, kind)
    values: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise InvalidCommand(f"parameter {word!r} must be Key=Value, such as TaskId=t-1", field=key or None)
        if key in values:
            raise InvalidCommand(f"{key} is given twice", field=key)
        values[key] = AnyRegion(value) if key == "Region" and defaults.any_region else value
    operation = declaration.from_strings(values)
    return _command(operation, defaults.account, defaults.priority, defaults.expires_in)


def of_kind(operation_id: str, kind: Kind) -> type[Operation]:
    """Return the declaration of `operation_id`; raise InvalidCommand where it is none, or one of the other kind."""
    declaration = operations.find(operation_id)
    actual = declaration.spec.kind
    if actual is not kind:
        raise InvalidCommand(
            f"operation {operation_id} is a {actual.value} operation: use `streamstop {actual.value}` for it",
            field="operation",
        )
    return declaration


def _command(operation: Operation, account: Any, priority: Any, expires_in: timedelta | None) -> Command:
    if account is None:
        raise InvalidCommand("account is required: --account NAME, or in the line", field="account")
    return Command(operation=operation, account=account, priority=priority, expires_in=expires_in)


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_without_twins, parse_constant=_no_number)
    except InvalidCommand:
        raise
    except UnicodeDecodeError:
        raise InvalidCommand("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InvalidCommand(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, a thousand brackets
        raise InvalidCommand("not JSON that can be read") from None
    if not isinstance(data, dict):
        raise InvalidCommand("not a JSON object")
    return data


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidCommand(f"{key!r} is given twice", field=key)
        found[key] = value
    return found


def _no_number(name: str) -> NoReturn:
    raise InvalidCommand(f"{name} is not a value that JSON has")


def _duration(value: object) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return timedelta(seconds=value)
        except OverflowError:
            pass
    raise InvalidCommand(f"expires_in must be a positive number of seconds, not {value!r}", field="expires_in")
