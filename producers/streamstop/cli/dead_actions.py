"""Prints what becomes of dead letters, and which would be acted on."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import NoReturn, TypeVar

import click

from streamstop._core.lane import Lane
from streamstop._core.letters import DeadLetter, no_command
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
from streamstop.cli._shared.screen import terminal_width
from streamstop.cli.dead_output import LetterKind, count_letters, kind_of, letter_json, letter_table
from streamstop.dead_letters import LetterAct
from streamstop.errors import QueueUnavailable, UnknownDeadLetter
from streamstop.jobs import Job
from streamstop.outcomes import Outcome, Result

_T = TypeVar("_T")

#: How many letters are aligned and written together.
_CHUNK = 100


def act_on_each(
    acts: Generator[LetterAct, None, None], past: str, report: Callable[[LetterAct], None]
) -> tuple[list[LetterAct], Failure | None]:
    """`report` what becomes of each letter; return it all, and the failure that stopped the run early, if any.

    `past` names the action in messages: ``requeued``.
    """
    results: list[LetterAct] = []
    try:
        with closing(acts):
            for result in acts:
                results.append(result)
                report(result)
    except KeyboardInterrupt:
        return results, Failure(f"interrupted: {_count_results(results, past)}", Exit.INTERRUPTED)
    except QueueUnavailable as error:
        return results, Failure(f"{error}; {_count_results(results, past)}", Exit.NO_QUEUE)
    return results, None


def requeue_json(act: LetterAct, outcomes: Mapping[str, Outcome]) -> str:
    """Return the line that ``dead requeue --json`` prints."""
    job_id = None if act.job is None else act.job.id
    outcome = outcomes.get(job_id or "")
    lane = Lane.of_job(job_id or act.letter_id)
    operation, account = (None, None) if lane is None else (lane.operation, lane.account)
    return job_json_line(job_id, operation, account, outcome, letter=act.letter_id, problem=act.problem)


def drop_json(act: LetterAct) -> str:
    """Return the line that ``dead drop --json`` prints."""
    return json.dumps({"letter": act.letter_id, "dropped": act.problem is None, "problem": act.problem})


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
                problems.append(no_command(letter))
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
    width = terminal_width()
    for number, chunk in enumerate(_chunks(letters)):
        lines = map(letter_json, chunk) if as_json else letter_table(chunk, width, header=number == 0)
        click.echo(join_lines(lines))
        kinds.update(map(kind_of, chunk))
    return kinds


def print_problem(problem: str, past: str) -> None:
    """Print on stderr why the action failed on one letter."""
    click.echo(printable(f"not {past}: {problem}"), err=True)


def exit_with_count(results: Sequence[LetterAct], past: str, hint: str = "", code: Exit = Exit.OK) -> NoReturn:
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


def _count_results(results: Sequence[LetterAct], past: str) -> str:
    succeeded = sum(result.problem is None for result in results)
    failed = f", {len(results) - succeeded} not" if succeeded < len(results) else ""
    return f"{count_letters(succeeded)} {past}{failed}"


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
