"""``streamstop dead``: lists dead letters, shows one, and requeues or drops them."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click

from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.help_pages import Page, PageGroup
from streamstop.cli._shared.input import check_id
from streamstop.cli._shared.options import Duration, json_option, redis_option
from streamstop.cli._shared.output import answers_data, join_lines, printable
from streamstop.cli._shared.waiting import wait_for_outcomes
from streamstop.cli.dead_actions import (
    act_on_each,
    drop_json,
    exit_with_count,
    new_jobs_table,
    print_dry_run,
    print_letters,
    print_problem,
    requeue_json,
)
from streamstop.cli.dead_filters import build_matching, filter_options
from streamstop.cli.dead_output import count_letters, kinds_table, letter_json, letter_page
from streamstop.cli.dead_selection import Selection, selection_options
from streamstop.client import Client
from streamstop.dead_letters import LetterAct
from streamstop.errors import UnknownDeadLetter
from streamstop.outcomes import Outcome

_ID = "live-cn.live.StopMPUTask.0f8b5c2e9d7a4b31a6c0d4e8f1b29375"
_BAD_INPUT = "2    bad input, or neither --yes nor a terminal to confirm on: nothing was changed"


@click.group(
    cls=PageGroup,
    short_help="List dead letters, and requeue or drop them.",
    blocks={
        "Examples": [
            "streamstop dead list --younger-than 2h",
            f"streamstop dead show {_ID}",
            "streamstop dead requeue --account live-cn --code Forbidden.RAM --wait 600",
            "streamstop dead drop --result not_found --older-than 7d",
        ]
    },
)
def dead() -> None:
    """List the jobs that failed, and requeue or drop them.

    Dead letters are the jobs that ended refused, not_found, gave_up, expired or not_verified, and the messages
    that could not be read. Each is kept until it is requeued or dropped; beyond 100,000 the oldest are deleted.
    """


@dead.command(
    "list",
    cls=Page,
    short_help="List and count dead letters.",
    blocks={
        "Examples": [
            "streamstop dead list",
            "streamstop dead list --account live-cn --result refused --younger-than 30m",
            "streamstop dead list --json --limit 100",
        ],
        "Exit codes": ["0    listed, even if there are none", "2    bad input", "4    Redis did not answer"],
    },
)
@filter_options
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Only the oldest N.")
@json_option
@redis_option
def list_letters(*, limit: int | None, as_json: bool, redis: str | None, **filters: Any) -> None:
    """List dead letters, oldest first, and count them by result, code and account."""
    matching = build_matching(**filters)
    with Client(redis) as client:
        letters = client.dead_letters.letters(matching)
        kinds = print_letters(islice(letters, limit), as_json=as_json)
        more = ", and there are more" if limit is not None and next(letters, None) is not None else ""
    if not as_json:
        click.echo(join_lines([f"{count_letters(kinds.total())}{more}", *kinds_table(kinds)]))


@dead.command(
    cls=Page,
    short_help="Show a dead letter.",
    blocks={
        "Examples": [f"streamstop dead show {_ID}", f"streamstop dead show {_ID} --json"],
        "Exit codes": [
            "0    shown",
            "1    there is no such dead letter",
            "2    bad input",
            "4    Redis did not answer",
        ],
    },
)
@click.argument("letter_id", metavar="ID")
@json_option
@redis_option
def show(letter_id: str, *, as_json: bool, redis: str | None) -> None:
    """Show everything that is known of a dead letter; of a message that could not be read, its text."""
    with Client(redis) as client:
        try:
            letter = client.dead_letters.get(check_id(letter_id))
        except UnknownDeadLetter as unknown:
            raise Failure(str(unknown), Exit.ENDED_OTHERWISE) from unknown
        view = client.job(letter.id).look()
    answers = () if view is None else view.answers
    if as_json:
        click.echo(letter_json(letter, answers=answers_data(answers)))
    else:
        click.echo(join_lines(letter_page(letter, datetime.now(UTC), answers)))


@dead.command(
    cls=Page,
    short_help="Enqueue dead letters again.",
    blocks={
        "Examples": [
            f"streamstop dead requeue {_ID} --wait 30",
            "streamstop dead requeue --account live-cn --younger-than 2h --dry-run",
            "streamstop dead requeue --account live-cn --younger-than 2h --yes --wait 600 --json",
            "streamstop dead list --limit 10 --json | jq -r .id | streamstop dead requeue -",
        ],
        "Exit codes": [
            "0    all are requeued (with --wait: and ended stopped, already_stopped or status)",
            "1    some are not, or with --wait ended with another result; or you did not confirm",
            _BAD_INPUT,
            "3    some jobs did not end in time; they continue",
            "4    Redis did not answer; run it again: no letter is requeued twice",
            "130  interrupted (Ctrl-C); what was requeued continues",
        ],
    },
)
@selection_options
@click.option("--wait", metavar="TIME", type=Duration(), help="Wait up to this long for the new jobs to end: 30, 10m.")
@json_option
@redis_option
def requeue(
    ids: tuple[str, ...], *, dry_run: bool, wait: timedelta | None, as_json: bool, redis: str | None, **options: Any
) -> None:
    """Enqueue the commands of dead letters again, and print the new jobs' IDs.

    Select letters by ID (- reads IDs from standard input), by filters, or with --all. A requeued command has no
    expiry: make sure that its task ID is not in use again. If the letter was part of a shutdown, that shutdown is
    open again until the task has ended.
    """
    selection = Selection.from_arguments(ids, **options)

    def report(result: LetterAct) -> None:
        if result.problem is not None and not as_json:
            print_problem(result.problem, "requeued")
        elif wait is None:
            click.echo(requeue_json(result, {}) if as_json else printable(result.job.id if result.job else ""))

    with Client(redis) as client:
        letters = client.dead_letters
        if dry_run:
            print_dry_run(selection.letters(letters), "requeued", as_json=as_json, needs_command=True)
        acts = letters.requeue_each(selection.confirmed_ids(letters, "requeue"))
        results, failure = act_on_each(acts, "requeued", report)
        jobs = [result.job for result in results if result.job is not None]
        outcomes: dict[str, Outcome] = {}
        if wait is not None and failure is None:
            outcomes, failure = wait_for_outcomes(client, jobs, wait, "requeued")
    if wait is not None and as_json:
        click.echo(join_lines(requeue_json(result, outcomes) for result in results))
    elif wait is not None:
        click.echo(join_lines(new_jobs_table(jobs, outcomes)))
    if failure is not None:
        raise failure
    code = Exit.OK if wait is None else Exit.of(len(jobs), outcomes.values())
    if code is Exit.STILL_OPEN:
        raise Failure("some jobs did not end in time and will continue; look at one with `streamstop job ID`", code)
    exit_with_count(
        results, "requeued", "; look at a job with `streamstop job ID`" if wait is None and jobs else "", code
    )


@dead.command(
    cls=Page,
    blocks={
        "Examples": [
            f"streamstop dead drop {_ID}",
            "streamstop dead drop --result not_found --older-than 7d",
            "streamstop dead drop --result unreadable --yes",
        ],
        "Exit codes": [
            "0    all are dropped",
            "1    some were already gone; or you did not confirm",
            _BAD_INPUT,
            "4    Redis did not answer; run it again",
            "130  interrupted (Ctrl-C)",
        ],
    },
)
@selection_options
@json_option
@redis_option
def drop(ids: tuple[str, ...], *, dry_run: bool, as_json: bool, redis: str | None, **options: Any) -> None:
    """Delete dead letters. Their commands are not sent again.

    Select letters by ID (- reads IDs from standard input), by filters, or with --all. A task of a room stays
    registered there.
    """
    selection = Selection.from_arguments(ids, **options)

    def report(result: LetterAct) -> None:
        if as_json:
            click.echo(drop_json(result))
        elif result.problem is not None:
            print_problem(result.problem, "dropped")
        else:
            click.echo(f"dropped  {printable(result.letter_id)}")

    with Client(redis) as client:
        letters = client.dead_letters
        if dry_run:
            print_dry_run(selection.letters(letters), "dropped", as_json=as_json)
        acts = letters.drop_each(selection.confirmed_ids(letters, "drop"))
        results, failure = act_on_each(acts, "dropped", report)
    if failure is not None:
        raise failure
    exit_with_count(results, "dropped")
