"""Options that several commands share."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from streamstop.cli.completion import complete_account

_F = TypeVar("_F", bound=Callable[..., Any])

_MOST_SECONDS = 1e9


class Seconds(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """A number of seconds that is not negative, as a timedelta."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read what was given."""
        if isinstance(value, timedelta):
            return value
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= _MOST_SECONDS:  # also what float() takes for a number: nan, inf
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return timedelta(seconds=seconds)


def redis_option(command: _F) -> _F:
    """Add ``--redis``; the client reads the variable itself where the option is not given."""
    return click.option(
        "--redis",
        metavar="URL",
        help="Where the queue is: redis://, rediss:// or sentinel://.  [env var: STREAMSTOP_REDIS_URL; "
        "default: redis://localhost:6379/0]",
    )(command)


def json_option(command: _F) -> _F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")(command)


def account_option(command: _F) -> _F:
    """Add ``--account``."""
    return click.option(
        "--account",
        metavar="NAME",
        shell_complete=complete_account,
        help="The account; with --from, the default of lines without one.",
    )(command)


def from_option(what: str) -> Callable[[_F], _F]:
    """Add ``--from``, which reads `what`."""
    return click.option(
        "--from",
        "source",
        metavar="FILE",
        type=click.File("rb"),
        help=f"Read {what} from JSON lines; - is standard input.",
    )


def any_region_option(command: _F) -> _F:
    """Add ``--any-region``."""
    return click.option("--any-region", is_flag=True, help="Take a Region that the list does not know.")(command)
