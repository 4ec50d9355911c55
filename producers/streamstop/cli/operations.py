"""``streamstop operations``: lists the operations with their parameters and limits."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import json_option
from streamstop.cli._shared.output import join_lines
from streamstop.cli._shared.screen import terminal_width
from streamstop.operations import OPERATIONS
from streamstop.operations.facts import facts_of

#: Text is wrapped for a terminal of at least this many columns.
_NARROWEST = 60


@click.command(cls=Page, blocks={"Examples": ["streamstop operations", "streamstop operations --json"]})
@json_option
def operations(*, as_json: bool) -> None:
    """List the operations with their parameters and limits."""
    facts = [operation_facts(operation_id) for operation_id in OPERATIONS]
    if as_json:
        click.echo(join_lines(json.dumps(fact) for fact in facts))
    else:
        width = terminal_width()
        click.echo(join_lines(line for fact in facts for line in [*operation_page(fact, width), ""]).rstrip())


def operation_facts(operation_id: str) -> dict[str, Any]:
    """Return what users need to know of an operation, as JSON data."""
    return facts_of(operation_id).model_dump(mode="json", exclude_none=True)


def operation_page(facts: Mapping[str, Any], terminal: int | None = None) -> Iterator[str]:
    """Yield the lines about one operation, wrapped for a `terminal` of so many columns, but for the vendor's page.

    `facts` come from :func:`operation_facts`.
    """
    yield f"{facts['id']}  ({facts['kind']}, {facts['vendor']}, {facts['limit']:.4g} calls/s)"
    yield from _wrapped("  ", facts["about"], terminal)
    width = max(len(parameter["name"]) for parameter in facts["parameters"])
    for parameter in facts["parameters"]:
        required = "required" if parameter["required"] else "optional"
        head = f"  {parameter['name'].ljust(width)}  {required}  "
        yield from _wrapped(head, _allowed_values(parameter), terminal)
    yield f"  {facts['source']}"


def _wrapped(head: str, text: str, terminal: int | None) -> Sequence[str]:
    """Return `text` after `head`; on a terminal, its further lines begin below its first."""
    if terminal is None:
        return [head + text]
    width, indent = max(terminal, _NARROWEST), " " * len(head)
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)


def _allowed_values(parameter: Mapping[str, Any]) -> str:
    if "known_values" in parameter:
        return f"one of {', '.join(parameter['known_values'])}; a newer one with --any-region"
    if parameter["type"] == "integer":
        return f"whole number, {parameter['minimum']} to {parameter['maximum']}"
    return f"text, up to {parameter['max_length']} characters"
