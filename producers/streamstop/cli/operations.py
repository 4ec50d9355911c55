"""``streamstop operations``: lists the operations with their parameters and limits."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import json_option
from streamstop.cli._shared.output import join_lines
from streamstop.operations import OPERATIONS
from streamstop.operations.facts import facts_of


@click.command(cls=Page, blocks={"Examples": ["streamstop operations", "streamstop operations --json"]})
@json_option
def operations(*, as_json: bool) -> None:
    """List the operations with their parameters and limits."""
    facts = [operation_facts(operation_id) for operation_id in OPERATIONS]
    if as_json:
        click.echo(join_lines(json.dumps(fact) for fact in facts))
    else:
        click.echo(join_lines(line for fact in facts for line in [*operation_page(fact), ""]).rstrip())


def operation_facts(operation_id: str) -> dict[str, Any]:
    """Return what users need to know of an operation, as JSON data."""
    return facts_of(operation_id).model_dump(mode="json", exclude_none=True)


def operation_page(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about one operation; `facts` come from :func:`operation_facts`."""
    yield f"{facts['id']}  ({facts['kind']}, {facts['vendor']}, {facts['limit']:.4g} calls/s)"
    yield f"  {facts['about']}"
    width = max(len(parameter["name"]) for parameter in facts["parameters"])
    for parameter in facts["parameters"]:
        required = "required" if parameter["required"] else "optional"
        yield f"  {parameter['name'].ljust(width)}  {required}  {_allowed_values(parameter)}"
    yield f"  {facts['source']}"


def _allowed_values(parameter: Mapping[str, Any]) -> str:
    if "known_values" in parameter:
        return f"one of {', '.join(parameter['known_values'])}; a newer one with --any-region"
    if parameter["type"] == "integer":
        return f"whole number, {parameter['minimum']} to {parameter['maximum']}"
    return f"text, up to {parameter['max_length']} characters"
