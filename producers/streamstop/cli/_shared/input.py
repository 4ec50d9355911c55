"""Reads commands from arguments or a file, and IDs from arguments or standard input."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import click

from streamstop._redis.accounts import check_vendor, vendor_among
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.parsing import (
    LINE_KEYS,
    Defaults,
    InvalidLines,
    NumberedCommand,
    parse_lines,
    parse_words,
)
from streamstop.client import Client
from streamstop.errors import InvalidCommand, QueueUnavailable, UnknownAccount
from streamstop.operations import Kind

_STDIN = "-"


def read_commands(
    operation: str | None,
    words: Sequence[str],
    source: BinaryIO | None,
    kind: Kind,
    defaults: Defaults,
    *,
    nothing: str,
    keys: Sequence[str] = LINE_KEYS,
) -> list[NumberedCommand]:
    """Read one command from arguments, or many from `source`, whose lines may have `keys`.

    Where a line is not valid, the error says what did not happen: `nothing` (``nothing was enqueued``).
    """
    if source is None:
        if operation is None:
            raise click.UsageError("Missing argument 'OPERATION' (or --from FILE).")
        return [NumberedCommand(1, parse_words(operation, words, kind, defaults))]
    if operation is not None:
        raise click.UsageError("OPERATION and --from cannot be combined: each line names its operation.")
    try:
        return parse_lines(source, kind, defaults, keys)
    except InvalidLines as error:
        raise _invalid_source(source, error, nothing) from error


def check_accounts(client: Client, lines: Sequence[NumberedCommand], source: BinaryIO, *, nothing: str) -> None:
    """Check the accounts of `lines` here, because the client's own error does not name lines."""
    first = {(line.command.account, line.command.operation.spec.product.vendor.name): line for line in reversed(lines)}
    problems: dict[int, InvalidCommand] = {}
    try:
        known = client.accounts()
    except QueueUnavailable as error:
        raise QueueUnavailable(f"{error}; {nothing}") from error
    for (account, vendor), line in first.items():
        try:
            check_vendor(account, vendor_among(known, account), vendor)
        except UnknownAccount as problem:
            problems[line.number] = problem
    if problems:
        raise _invalid_source(source, InvalidLines(problems), nothing)


def check_known_account(client: Client, account: str | None) -> None:
    """Raise :class:`~streamstop.errors.UnknownAccount` if workers run, and none has `account`."""
    if account is not None:
        vendor_among(client.accounts(), account)


def read_ids(arguments: Iterable[str]) -> list[str]:
    """Return the IDs without duplicates; ``-`` reads them from standard input, one per line."""
    return list(dict.fromkeys(_read_ids(arguments)))


def check_id(value: str) -> str:
    """Return `value` where it is UTF-8 text, as every ID in Redis is; else exit with 2."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.UsageError("An ID must be UTF-8 text.") from None
    return value


def _read_ids(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == _STDIN:
            stripped = (line.decode(errors="surrogateescape").strip() for line in sys.stdin.buffer)
            yield from map(check_id, filter(None, stripped))
        else:
            yield check_id(argument)


def _invalid_source(source: BinaryIO, error: InvalidLines, nothing: str) -> Failure:
    name = getattr(source, "name", "the input")
    return Failure(f"{nothing}: {name} is not valid:\n{error}", Exit.BAD_INPUT)
