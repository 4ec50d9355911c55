"""From what was typed or a file to commands that are fit to be sent: all of them, or an error that names each line."""

from collections.abc import Sequence
from typing import BinaryIO

import click

from streamstop.cli.exits import Exit, Failure
from streamstop.cli.reading import KEYS, Defaults, InvalidLines, Line, read_lines, read_words
from streamstop.client import Client
from streamstop.errors import InvalidCommand, QueueUnavailable, UnknownAccount
from streamstop.known_accounts import check_vendor, vendor_among
from streamstop.operations import Kind


def read(
    operation: str | None,
    words: Sequence[str],
    source: BinaryIO | None,
    kind: Kind,
    defaults: Defaults,
    *,
    nothing: str,
    keys: Sequence[str] = KEYS,
) -> list[Line]:
    """Read one operation, or a file of them, whose lines may have `keys`.

    `nothing` says what did not happen where a line is wrong.
    """
    if source is None:
        if operation is None:
            raise click.UsageError("Missing argument 'OPERATION' (or --from FILE).")
        return [Line(1, read_words(operation, words, kind, defaults))]
    if operation is not None:
        raise click.UsageError("OPERATION and --from exclude each other: the lines name their operations.")
    try:
        return read_lines(source, kind, defaults, keys)
    except InvalidLines as error:
        raise _at(source, error, nothing) from error


def check_accounts(client: Client, lines: Sequence[Line], source: BinaryIO, *, nothing: str) -> None:
    """Let the client's own check run line by line, for its error does not know of lines."""
    first = {(line.command.account, line.command.operation.spec.product.vendor.name): line for line in reversed(lines)}
    problems: dict[int, InvalidCommand] = {}
    try:
        known = client.accounts()
    except QueueUnavailable as away:
        raise QueueUnavailable(f"{away}; {nothing}") from away
    for (account, vendor), line in first.items():
        try:
            check_vendor(account, vendor_among(known, account), vendor)
        except UnknownAccount as problem:
            problems[line.number] = problem
    if problems:
        raise _at(source, InvalidLines(problems), nothing)


def _at(source: BinaryIO, error: InvalidLines, nothing: str) -> Failure:
    name = getattr(source, "name", "the input")
    return Failure(f"{nothing}, for {name} is not valid:\n{error}", Exit.BAD_INPUT)
