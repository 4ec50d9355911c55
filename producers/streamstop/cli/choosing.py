"""Which dead letters a command is to act on: ids, or all that fit, counted and agreed to before anything is done."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from streamstop.cli import letters as showing
from streamstop.cli.exits import Exit, Failure
from streamstop.cli.matching import matching_of, matching_options
from streamstop.cli.showing import lines
from streamstop.dead import DeadLetter, Matching
from streamstop.dead_letters import DeadLetters
from streamstop.errors import UnknownDeadLetter

_F = TypeVar("_F", bound=Callable[..., Any])

_STDIN = "-"


@dataclass(frozen=True)
class Choice:
    """What was typed: ids, or else a filter."""

    ids: Sequence[str] | None
    matching: Matching
    yes: bool

    @classmethod
    def of(cls, ids: Sequence[str], *, everything: bool, yes: bool, **filters: Any) -> "Choice":
        """Check that it is ids, filters or ``--all``; read the ids that stand on standard input."""
        matching = matching_of(**filters)
        ways = (bool(ids), everything, matching != Matching()).count(True)
        if ways == 0:
            raise click.UsageError("Say which: IDs, filters such as --account, or --all for every dead letter.")
        if ways > 1:
            raise click.UsageError("IDs, filters and --all exclude each other.")
        return cls(tuple(dict.fromkeys(_read(ids))) if ids else None, matching, yes)

    def pick(self, dead: DeadLetters, verb: str) -> Sequence[str]:
        """Return the ids of the letters that are meant; of filters, once somebody has agreed to their number.

        `verb` is what is going to be done to them: ``requeue``.
        """
        if self.ids is not None:
            return self.ids
        kinds: Counter[showing.Kind] = Counter()
        ids = []
        for letter in dead.letters(self.matching):
            kinds[showing.kind_of(letter)] += 1
            ids.append(letter.id)
        if ids and not self.yes:
            _agree(kinds, verb)
        return ids

    def look(self, dead: DeadLetters) -> Iterator[DeadLetter | UnknownDeadLetter]:
        """Yield the letters that are meant; for an id that there is no letter of, what is to be said of it."""
        if self.ids is None:
            yield from dead.letters(self.matching)
            return
        for letter_id in self.ids:
            try:
                yield dead.get(letter_id)
            except UnknownDeadLetter as unknown:
                yield unknown


def choosing(command: _F) -> _F:
    """Add what :meth:`Choice.of` takes, and ``--dry-run``."""
    parts = (
        click.argument("ids", metavar="[ID]...", nargs=-1),
        matching_options,
        click.option("--all", "everything", is_flag=True, help="Every dead letter."),
        click.option("--dry-run", is_flag=True, help="Tell which these are, and change nothing."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    )
    for part in reversed(parts):
        command = part(command)
    return command


def checked_id(letter_id: str) -> str:
    """Return an id if Redis could have it; raise what exits 2 where not."""
    try:
        letter_id.encode()
    except UnicodeEncodeError:
        raise click.UsageError("An ID is UTF-8 text.") from None
    return letter_id


def _read(ids: Iterable[str]) -> Iterator[str]:
    for letter_id in ids:
        if letter_id == _STDIN:
            stripped = (line.decode(errors="surrogateescape").strip() for line in sys.stdin.buffer)
            yield from map(checked_id, filter(None, stripped))
        else:
            yield checked_id(letter_id)


def _agree(kinds: "Counter[showing.Kind]", verb: str) -> None:
    """Ask a person; raise where there is none, or he does not agree."""
    one = kinds.total() == 1
    fit = f"{showing.letters(kinds.total())} {'fits' if one else 'fit'}"
    if not sys.stdin.isatty():
        them = "it" if one else "them"
        raise Failure(f"{fit}, and there is no terminal to ask on: say --yes to {verb} {them}", Exit.BAD_INPUT)
    click.echo(lines([f"{fit}:", *showing.summary(kinds)]), err=True)
    try:
        agreed = click.confirm(f"{verb.capitalize()} {'it' if one else 'them'}?", err=True)
    except click.Abort:
        raise Failure("interrupted: nothing was changed", Exit.INTERRUPTED) from None
    if not agreed:
        raise Failure("nothing was changed", Exit.ENDED_OTHERWISE)
