"""Acting on dead letters, one by one: what cannot be done to one is told and counted, and the rest goes on."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn, TypeVar

import click

from streamstop.cli import letters as showing
from streamstop.cli.exits import Exit, Failure
from streamstop.cli.showing import detail, jobs, json_line, lines, printable
from streamstop.dead import DeadLetter
from streamstop.errors import NotRequeueable, QueueUnavailable, UnknownDeadLetter
from streamstop.jobs import Job
from streamstop.lanes import Lane
from streamstop.outcomes import Outcome, Result

_T = TypeVar("_T")

#: How many letters are aligned, and written, together.
_CHUNK = 200


@dataclass(frozen=True)
class Done:
    """What became of one letter."""

    letter_id: str
    #: The job that it became, where it was requeued.
    job: Job | None = None
    #: Why it could not be done.
    problem: str | None = None

    def to_json(self, outcomes: Mapping[str, Outcome]) -> str:
        """Return the line that ``--json`` prints of a letter that was to be requeued."""
        job_id = None if self.job is None else self.job.id
        outcome = outcomes.get(job_id or "")
        lane = Lane.of_job(job_id or self.letter_id)
        operation, account = (None, None) if lane is None else (lane.operation, lane.account)
        return json_line(job_id, operation, account, outcome, letter=self.letter_id, problem=self.problem)


def act(
    ids: Sequence[str], deed: Callable[[str], Job | None], past: str, tell: Callable[[Done], None]
) -> tuple[list[Done], Failure | None]:
    """Do `deed` to each letter and `tell` what became of it; return all of that, and what cut it short.

    `past` is what was done: ``requeued``.
    """
    done: list[Done] = []
    try:
        for letter_id in ids:
            try:
                done.append(Done(letter_id, deed(letter_id)))
            except (UnknownDeadLetter, NotRequeueable) as problem:
                done.append(Done(letter_id, problem=str(problem)))
            tell(done[-1])
    except KeyboardInterrupt:
        return done, Failure(f"interrupted: {_counted(done, past)}", Exit.INTERRUPTED)
    except QueueUnavailable as error:
        return done, Failure(f"{error}; {_counted(done, past)}", Exit.NO_QUEUE)
    return done, None


def rehearse(
    letters: Iterable[DeadLetter | UnknownDeadLetter], past: str, *, as_json: bool, must_have_command: bool = False
) -> NoReturn:
    """Print the letters that would be requeued, or dropped, and exit as that would."""
    problems: list[str] = []

    def fit() -> Iterator[DeadLetter]:
        for letter in letters:
            if isinstance(letter, UnknownDeadLetter):
                problems.append(str(letter))
            elif must_have_command and letter.command is None:
                problems.append(f"dead letter {letter.id} has no command: {letter.reason}")
            else:
                yield letter

    kinds = show(fit(), as_json=as_json)
    for problem in problems:
        tell_problem(problem, past)
    also = f", {len(problems)} not" if problems else ""
    click.echo(f"{showing.letters(kinds.total())} would be {past}{also}; nothing was changed", err=True)
    sys.exit(Exit.ENDED_OTHERWISE if problems else Exit.OK)


def show(letters: Iterable[DeadLetter], *, as_json: bool) -> "Counter[showing.Kind]":
    """Print letters as they come, and return how many there were of each kind."""
    kinds: Counter[showing.Kind] = Counter()
    for chunk in _chunks(letters):
        click.echo(lines(map(showing.letter_json, chunk) if as_json else showing.table(chunk)))
        kinds.update(map(showing.kind_of, chunk))
    return kinds


def conclude(done: Sequence[Done], past: str, more: str = "", code: Exit = Exit.OK) -> NoReturn:
    """Say how many it were, and exit with `code`, or 1 where some could not be."""
    click.echo(f"{_counted(done, past)}{more}", err=True)
    sys.exit(Exit.ENDED_OTHERWISE if any(one.problem is not None for one in done) else code)


def tell_problem(problem: str | None, past: str) -> None:
    """Say on stderr what could not be done to one."""
    click.echo(printable(f"not {past}: {problem}"), err=True)


def ended_lines(requeued: Iterable[Job], outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield an aligned line for each new job, and how many ended how."""
    counts: Counter[str] = Counter()
    rows = []
    for job in requeued:
        outcome = outcomes.get(job.id)
        counts[result := "open" if outcome is None else outcome.result.value] += 1
        params = {} if outcome is None or outcome.params is None else outcome.params
        task = " ".join(f"{name}={value}" for name, value in params.items())
        rows.append([result, job.id, task, "" if outcome is None else detail(outcome)])
    yield from showing.aligned(rows)
    words = [*(result.value for result in Result), "open"]
    told = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
    yield f"{jobs(counts.total())}: {told or 'nothing to wait for'}"


def dropped_json(done: Done) -> str:
    """Return the line that ``--json`` prints of a letter that was to be dropped."""
    return json.dumps({"letter": done.letter_id, "dropped": done.problem is None, "problem": done.problem})


def _counted(done: Sequence[Done], past: str) -> str:
    well = sum(one.problem is None for one in done)
    also = f", {len(done) - well} not" if well < len(done) else ""
    return f"{showing.letters(well)} {past}{also}"


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
