"""Acts on dead letters one by one, and prints the results. A letter that fails does not stop the rest."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn, TypeVar

import click

from streamstop._core.lane import Lane
from streamstop._core.letters import DeadLetter
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.output import (
    aligned,
    counted,
    job_json_line,
    join_lines,
    outcome_detail,
    params_text,
    printable,
)
from streamstop.cli.dead_output import LetterKind, count_letters, kind_of, letter_json, letter_table
from streamstop.errors import NotRequeueable, QueueUnavailable, UnknownDeadLetter
from streamstop.jobs import Job
from streamstop.outcomes import Outcome, Result

_T = TypeVar("_T")

#: How many letters are aligned and written together.
_CHUNK = 100


@dataclass(frozen=True)
class ActionResult:
    """The result of an action on one letter."""

    letter_id: str
    #: The new job of a letter that was requeued.
    job: Job | None = None
    #: Why the action failed.
    problem: str | None = None

    def requeue_json(self, outcomes: Mapping[str, Outcome]) -> str:
        """Return the line that ``dead requeue --json`` prints."""
        job_id = None if self.job is None else self.job.id
        outcome = outcomes.get(job_id or "")
        lane = Lane.of_job(job_id or self.letter_id)
        operation, account = (None, None) if lane is None else (lane.operation, lane.account)
        return job_json_line(job_id, operation, account, outcome, letter=self.letter_id, problem=self.problem)

    def drop_json(self) -> str:
        """Return the line that ``dead drop --json`` prints."""
        return json.dumps({"letter": self.letter_id, "dropped": self.problem is None, "problem": self.problem})


def act_on_each(
    ids: Sequence[str], action: Callable[[str], Job | None], past: str, report: Callable[[ActionResult], None]
) -> tuple[list[ActionResult], Failure | None]:
    """Run `action` on each letter and `report` each result.

    Return the results, and the failure that stopped the run early, if any. `past` names the action in messages:
    ``requeued``.
    """
    results: list[ActionResult] = []
    try:
        for letter_id in ids:
            try:
                results.append(ActionResult(letter_id, action(letter_id)))
            except (UnknownDeadLetter, NotRequeueable) as problem:
                results.append(ActionResult(letter_id, problem=str(problem)))
            report(results[-1])
    except KeyboardInterrupt:
        return results, Failure(f"interrupted: {_count_results(results, past)}", Exit.INTERRUPTED)
    except QueueUnavailable as error:
        return results, Failure(f"{error}; {_count_results(results, past)}", Exit.NO_QUEUE)
    return results, None


def print_dry_run(
    letters: Iterable[DeadLetter | UnknownDeadLetter], past: str, *, as_json: bool, needs_command: bool = False
) -> NoReturn:
    """Print the letters that the action would succeed on, and exit as it would."""
    problems: list[str] = []

    def actionable() -> Iterator[DeadLetter]:
        for letter in letters:
            if isinstance(letter, UnknownDeadLetter):
                problems.append(str(letter))
            elif needs_command and letter.command is None:
                problems.append(f"dead letter {letter.id} has no command: {letter.reason}")
            else:
                yield letter

    kinds = print_letters(actionable(), as_json=as_json)
    for problem in problems:
        print_problem(problem, past)
    failed = f", {len(problems)} not" if problems else ""
    click.echo(f"{count_letters(kinds.total())} would be {past}{failed}; nothing was changed", err=True)
    sys.exit(Exit.ENDED_OTHERWISE if problems else Exit.OK)


def print_letters(letters: Iterable[DeadLetter], *, as_json: bool) -> "Counter[LetterKind]":
    """Print letters as they are read, and return how many there were of each kind."""
    kinds: Counter[LetterKind] = Counter()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for number, chunk in enumerate(_chunks(letters)):
        lines = map(letter_json, chunk) if as_json else letter_table(chunk, width, header=number == 0)
        click.echo(join_lines(lines))
        kinds.update(map(kind_of, chunk))
    return kinds


def print_problem(problem: str, past: str) -> None:
    """Print on stderr why the action failed on one letter."""
    click.echo(printable(f"not {past}: {problem}"), err=True)


def exit_with_count(results: Sequence[ActionResult], past: str, hint: str = "", code: Exit = Exit.OK) -> NoReturn:
    """Print how many letters were acted on, and exit with `code`, or with 1 where an action failed."""
    click.echo(f"{_count_results(results, past)}{hint}", err=True)
    sys.exit(Exit.ENDED_OTHERWISE if any(result.problem is not None for result in results) else code)


def new_jobs_table(jobs: Iterable[Job], outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield an aligned line for each new job, and the number of jobs for each result."""
    counts: Counter[str] = Counter()
    rows = []
    for job in jobs:
        outcome = outcomes.get(job.id)
        result = "open" if outcome is None else outcome.result.value
        counts[result] += 1
        params = {} if outcome is None or outcome.params is None else outcome.params
        rows.append([result, job.id, params_text(params), "" if outcome is None else outcome_detail(outcome)])
    yield from aligned(rows)
    names = [*(result.value for result in Result), "open"]
    parts = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
    yield f"{counted(counts.total(), 'job')}: {parts or 'nothing to wait for'}"


def _count_results(results: Sequence[ActionResult], past: str) -> str:
    succeeded = sum(result.problem is None for result in results)
    failed = f", {len(results) - succeeded} not" if succeeded < len(results) else ""
    return f"{count_letters(succeeded)} {past}{failed}"


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
