"""Options that several commands take."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from streamstop.cli._shared.completers import complete_account, complete_operation, complete_parameter

_F = TypeVar("_F", bound=Callable[..., Any])

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)")


class Duration(click.ParamType):  # type: ignore[type-arg]  # older clicks are not generic
    """``90``, ``30s``, ``5m``, ``2h`` or ``7d``, as a timedelta; with `longest`, longer than 0 and at most that."""

    name = "duration"

    def __init__(self, longest: timedelta | None = None) -> None:
        self._longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration that `value` names."""
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(value)
        if match is None:
            self.fail(
                f"{value!r} is not a duration: give a number of seconds, or one with s, m, h or d "
                "(90, 30s, 5m, 2h, 7d).",
                param,
                ctx,
            )
        number, unit = match.groups()
        duration = timedelta(seconds=float(number) * _UNITS[unit])
        if self._longest is not None and not timedelta(0) < duration <= self._longest:
            self.fail(f"must be longer than 0 and at most {self._longest.days}d.", param, ctx)
        return duration


def combine(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Return one decorator that applies `decorators` as if they were written in this order."""

    def decorate(command: _F) -> _F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def redis_option(command: _F) -> _F:
    """Add ``--redis``. Where it is not given, the client reads the environment variable."""
    return click.option(
        "--redis",
        metavar="URL",
        help="Where the queue is: redis://, rediss:// or sentinel://.  [env var: STREAMSTOP_REDIS_URL; "
        "default: redis://localhost:6379/0]",
    )(command)


def json_option(command: _F) -> _F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")(command)


def operation_arguments(command: _F) -> _F:
    """Add ``OPERATION`` and ``KEY=VALUE``."""
    return combine(
        click.argument("operation", required=False, shell_complete=complete_operation),
        click.argument("words", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=complete_parameter),
    )(command)


def account_option(command: _F) -> _F:
    """Add ``--account``."""
    return click.option(
        "--account",
        metavar="NAME",
        shell_complete=complete_account,
        help="The account; with --from, the account of every line that names none.",
    )(command)


def from_option(content: str) -> Callable[[_F], _F]:
    """Add ``--from``, which reads `content`."""
    return click.option(
        "--from",
        "source",
        metavar="FILE",
        type=click.File("rb"),
        help=f"Read {content} from a file of JSON lines; - is standard input.",
    )


def any_region_option(command: _F) -> _F:
    """Add ``--any-region``."""
    return click.option("--any-region", is_flag=True, help="Accept a Region that is not in the list.")(command)
