"""Filters for dead letters: the options that select them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from streamstop._core.letters import UNREADABLE, Matching
from streamstop.cli._shared.completers import complete_account, complete_any_operation
from streamstop.cli._shared.options import Duration, combine
from streamstop.outcomes import Result

_F = TypeVar("_F", bound=Callable[..., Any])

_RESULTS = [*(result.value for result in Result if result.needs_person), UNREADABLE]


def filter_options(command: _F) -> _F:
    """Add the filters. The command passes their values to :func:`build_matching`."""
    return combine(
        click.option("--account", metavar="NAME", shell_complete=complete_account, help="Only those of the account."),
        click.option(
            "--operation", metavar="ID", shell_complete=complete_any_operation, help="Only those of the operation."
        ),
        click.option("--result", type=click.Choice(_RESULTS), help="Only those with the result."),
        click.option("--code", metavar="CODE", help="Only those with the vendor's code."),
        click.option("--room", metavar="ROOM", help="Only those of the room's shutdowns."),
        click.option("--older-than", metavar="AGE", type=Duration(), help="Only those that died longer ago: 2h."),
        click.option("--younger-than", metavar="AGE", type=Duration(), help="Only those that died since then: 30m."),
    )(command)


def build_matching(*, result: str | None, **filters: Any) -> Matching:
    """Return the filters as the client takes them."""
    if result == UNREADABLE:
        return Matching(readable=False, **filters)
    return Matching(result=None if result is None else Result(result), **filters)
