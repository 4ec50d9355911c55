"""Selects the dead letters that a command acts on: by IDs, or by filters whose matches are confirmed first."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from streamstop._core.letters import DeadLetter, Matching
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.input import read_ids
from streamstop.cli._shared.options import combine
from streamstop.cli._shared.output import join_lines
from streamstop.cli.dead_filters import build_matching, filter_options
from streamstop.cli.dead_output import LetterKind, count_letters, kind_of, kinds_table
from streamstop.dead_letters import DeadLetters
from streamstop.errors import UnknownDeadLetter

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Selection:
    """IDs, or else filters."""

    ids: Sequence[str] | None
    matching: Matching
    #: Whether matches are acted on without a question.
    yes: bool

    @classmethod
    def from_arguments(cls, ids: Sequence[str], *, everything: bool, yes: bool, **filters: Any) -> "Selection":
        """Require exactly one of IDs, filters and ``--all``; read IDs from standard input for ``-``."""
        matching = build_matching(**filters)
        given = (bool(ids), everything, matching != Matching()).count(True)
        if given == 0:
            raise click.UsageError("Give IDs, filters such as --account, or --all for every dead letter.")
        if given > 1:
            raise click.UsageError("IDs, filters and --all cannot be combined.")
        return cls(read_ids(ids) if ids else None, matching, yes)

    def confirmed_ids(self, dead_letters: DeadLetters, verb: str) -> Sequence[str]:
        """Return the IDs of the selected letters; where filters selected them, ask the user first.

        `verb` is what will be done to them: ``requeue``.
        """
        if self.ids is not None:
            return self.ids
        kinds: Counter[LetterKind] = Counter()
        ids = []
        for letter in dead_letters.letters(self.matching):
            kinds[kind_of(letter)] += 1
            ids.append(letter.id)
        if ids and not self.yes:
            _confirm(kinds, verb)
        return ids

    def letters(self, dead_letters: DeadLetters) -> Iterator[DeadLetter | UnknownDeadLetter]:
        """Yield the selected letters; for an ID that has no letter, yield the error."""
        if self.ids is None:
            yield from dead_letters.letters(self.matching)
            return
        for letter_id in self.ids:
            try:
                yield dead_letters.get(letter_id)
            except UnknownDeadLetter as unknown:
                yield unknown


def selection_options(command: _F) -> _F:
    """Add the arguments of :meth:`Selection.from_arguments`, and ``--dry-run``."""
    return combine(
        click.argument("ids", metavar="[ID]...", nargs=-1),
        filter_options,
        click.option("--all", "everything", is_flag=True, help="Every dead letter."),
        click.option("--dry-run", is_flag=True, help="List the letters, and change nothing."),
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    )(command)


def _confirm(kinds: "Counter[LetterKind]", verb: str) -> None:
    """Ask the user. Raises :class:`~streamstop.cli._shared.exit_codes.Failure` unless the answer is yes."""
    one = kinds.total() == 1
    pronoun = "it" if one else "them"
    matches = f"{count_letters(kinds.total())} {'matches' if one else 'match'}"
    if not sys.stdin.isatty():
        raise Failure(
            f"{matches}, and there is no terminal to confirm on: pass --yes to {verb} {pronoun}", Exit.BAD_INPUT
        )
    click.echo(join_lines([f"{matches}:", *kinds_table(kinds)]), err=True)
    try:
        agreed = click.confirm(f"{verb.capitalize()} {pronoun}?", err=True)
    except click.Abort:
        raise Failure("interrupted: nothing was changed", Exit.INTERRUPTED) from None
    if not agreed:
        raise Failure("nothing was changed", Exit.ENDED_OTHERWISE)
