"""Which dead letters are meant: the filters that the commands on them share, and ages as people write them."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from streamstop.cli.completion import complete_account
from streamstop.cli.showing import about
from streamstop.dead import Matching
from streamstop.operations import OPERATIONS
from streamstop.outcomes import Result

_F = TypeVar("_F", bound=Callable[..., Any])

#: Stands for the result of a message that nobody could read.
UNREADABLE = "unreadable"
_RESULTS = [*(result.value for result in Result if result.needs_person), UNREADABLE]
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)")


class Duration(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """``90``, ``30s``, ``5m``, ``2h`` or ``7d``, as a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read what was given."""
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(value)
        if found is None:
            self.fail(
                f"{value!r} is not a duration: a number of seconds, or one with s, m, h or d (90, 30s, 5m, 2h, 7d).",
                param,
                ctx,
            )
        number, unit = found.groups()
        return timedelta(seconds=float(number) * _UNITS[unit])


def _complete_operation(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(name, help=about(declaration))
        for name, declaration in OPERATIONS.items()
        if name.startswith(incomplete)
    ]


def matching_options(command: _F) -> _F:
    """Add the filters; a command gets them as what :func:`matching_of` takes."""
    parts = (
        click.option("--account", metavar="NAME", shell_complete=complete_account, help="Only those of the account."),
        click.option("--operation", metavar="ID", shell_complete=_complete_operation, help="Only those of it."),
        click.option("--result", type=click.Choice(_RESULTS), help="Only those that ended so."),
        click.option("--code", metavar="CODE", help="Only those with the vendor's code."),
        click.option("--room", metavar="ROOM", help="Only those of the room's shutdowns."),
        click.option("--older-than", metavar="AGE", type=Duration(), help="Only those that died before that: 2h."),
        click.option("--younger-than", metavar="AGE", type=Duration(), help="Only those that died since: 30m."),
    )
    for part in reversed(parts):
        command = part(command)
    return command


def matching_of(*, result: str | None, **rest: Any) -> Matching:
    """Return what the filters say."""
    if result == UNREADABLE:
        return Matching(readable=False, **rest)
    return Matching(result=None if result is None else Result(result), **rest)
