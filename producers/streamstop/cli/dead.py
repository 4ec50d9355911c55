"""``streamstop dead …``: look at what ended so that a person must look, and send it again or forget it."""

from datetime import timedelta
from itertools import islice
from typing import Any

import click

from streamstop.cli import letters as showing
from streamstop.cli.acting import Done, act, conclude, dropped_json, ended_lines, rehearse, tell_problem
from streamstop.cli.acting import show as show_all
from streamstop.cli.choosing import Choice, checked_id, choosing
from streamstop.cli.enqueue import wait_for
from streamstop.cli.exits import Exit, Failure
from streamstop.cli.matching import matching_of, matching_options
from streamstop.cli.options import Seconds, json_option, redis_option
from streamstop.cli.pages import Page, PageGroup
from streamstop.cli.showing import lines, printable
from streamstop.client import Client
from streamstop.errors import UnknownDeadLetter
from streamstop.outcomes import Outcome

_ID = "live-cn.live.StopMPUTask.0f8b5c2e9d7a4b31a6c0d4e8f1b29375"
_BAD = "2    bad input, or --yes is missing and there is no terminal to ask on: nothing was changed"


@click.group(
    cls=PageGroup,
    short_help="Look at what ended badly, and send it again.",
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
    """Look at what ended so that a person must look, and send it again or forget it.

    Dead letters are the jobs that ended refused, not_found, gave_up, expired or not_verified, and the messages
    that nobody could read. Each is kept until it is requeued or dropped; of more than 100,000 the oldest go.
    """


@dead.command(
    "list",
    cls=Page,
    blocks={
        "Examples": [
            "streamstop dead list",
            "streamstop dead list --account live-cn --result refused --younger-than 30m",
            "streamstop dead list --json --limit 100",
        ],
        "Exit codes": ["0    listed, also where there are none", "2    bad input", "4    Redis did not answer"],
    },
)
@matching_options
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Only the oldest N of them.")
@json_option
@redis_option
def list_letters(*, limit: int | None, as_json: bool, redis: str | None, **filters: Any) -> None:
    """List dead letters, oldest first, and count them by result, code and account."""
    matching = matching_of(**filters)
    with Client(redis) as client:
        fitting = client.dead_letters.letters(matching)
        kinds = show_all(islice(fitting, limit), as_json=as_json)
        more = ", and there are more" if limit is not None and next(fitting, None) is not None else ""
    if not as_json:
        click.echo(lines([f"{showing.letters(kinds.total())}{more}", *showing.summary(kinds)]))


@dead.command(
    cls=Page,
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
    """Show everything that is known of a dead letter, also the text of one that nobody could read."""
    with Client(redis) as client:
        try:
            letter = client.dead_letters.get(checked_id(letter_id))
        except UnknownDeadLetter as unknown:
            raise Failure(str(unknown), Exit.ENDED_OTHERWISE) from unknown
    click.echo(showing.letter_json(letter) if as_json else lines(showing.page(letter)))


@dead.command(
    cls=Page,
    blocks={
        "Examples": [
            f"streamstop dead requeue {_ID} --wait 30",
            "streamstop dead requeue --account live-cn --younger-than 2h --dry-run",
            "streamstop dead requeue --account live-cn --younger-than 2h --yes --wait 600 --json",
            "streamstop dead list --limit 10 --json | jq -r .id | streamstop dead requeue -",
        ],
        "Exit codes": [
            "0    all are requeued (with --wait: and ended stopped, already_stopped or status)",
            "1    some could not be, or with --wait ended otherwise; or you did not agree",
            _BAD,
            "3    not all jobs ended in time; they go on",
            "4    Redis did not answer; run it again, for no letter is requeued twice",
            "130  interrupted (Ctrl-C); what was requeued goes on",
        ],
    },
)
@choosing
@click.option("--wait", metavar="SECONDS", type=Seconds(), help="Wait so long for the new jobs to end.")
@json_option
@redis_option
def requeue(
    ids: tuple[str, ...], *, dry_run: bool, wait: timedelta | None, as_json: bool, redis: str | None, **typed: Any
) -> None:
    """Enqueue the commands of dead letters again, and print the new jobs' ids.

    The letters are those with the IDs (- reads them from standard input), or all that fit. They are sent whatever
    expiry they had: make sure that no task id is in use again. The shutdown that one was part of is open again until
    its task has ended.
    """
    choice = Choice.of(ids, **typed)

    def tell(done: Done) -> None:
        if done.problem is not None and not as_json:
            tell_problem(done.problem, "requeued")
        elif wait is None:
            click.echo(done.to_json({}) if as_json else printable(done.job.id if done.job else ""))

    with Client(redis) as client:
        letters = client.dead_letters
        if dry_run:
            rehearse(choice.look(letters), "requeued", as_json=as_json, must_have_command=True)
        done, cut_short = act(choice.pick(letters, "requeue"), letters.requeue, "requeued", tell)
        jobs = [one.job for one in done if one.job is not None]
        outcomes: dict[str, Outcome] = {}
        if wait is not None and cut_short is None:
            outcomes, cut_short = wait_for(client, jobs, wait, "requeued")
    if wait is not None and as_json:
        click.echo(lines(one.to_json(outcomes) for one in done))
    elif wait is not None:
        click.echo(lines(ended_lines(jobs, outcomes)))
    if cut_short is not None:
        raise cut_short
    code = Exit.OK if wait is None else Exit.of(len(jobs), outcomes.values())
    if code is Exit.STILL_OPEN:
        raise Failure("not all jobs ended in time, and they go on; look at one with `streamstop job ID`", code)
    conclude(done, "requeued", "; look at a job with `streamstop job ID`" if wait is None else "", code)


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
            "1    some were gone already; or you did not agree",
            _BAD,
            "4    Redis did not answer; run it again",
            "130  interrupted (Ctrl-C)",
        ],
    },
)
@choosing
@json_option
@redis_option
def drop(ids: tuple[str, ...], *, dry_run: bool, as_json: bool, redis: str | None, **typed: Any) -> None:
    """Forget dead letters: their commands are not sent again.

    The letters are those with the IDs (- reads them from standard input), or all that fit. A task of a room stays
    registered there.
    """
    choice = Choice.of(ids, **typed)

    def tell(done: Done) -> None:
        if as_json:
            click.echo(dropped_json(done))
        elif done.problem is not None:
            tell_problem(done.problem, "dropped")
        else:
            click.echo(f"dropped  {printable(done.letter_id)}")

    with Client(redis) as client:
        letters = client.dead_letters
        if dry_run:
            rehearse(choice.look(letters), "dropped", as_json=as_json)
        done, cut_short = act(choice.pick(letters, "drop"), letters.drop, "dropped", tell)
    if cut_short is not None:
        raise cut_short
    conclude(done, "dropped")
