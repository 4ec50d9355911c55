"""``streamstop doctor``: examines the queue, and says what is wrong and what to do."""

import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta

import click

from streamstop._core.findings import DIAGNOSIS_TIMEOUT, Diagnosis, Finding, Severity
from streamstop.cli._shared.completers import complete_account
from streamstop.cli._shared.exit_codes import Exit
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import Duration, json_option, redis_option
from streamstop.cli._shared.output import counted, join_lines, json_line, printable
from streamstop.client import Client

_WIDTH = 80
_INDENT = 9


@click.command(
    cls=Page,
    short_help="Examine Redis, the workers and the lanes.",
    blocks={
        "Examples": [
            "streamstop doctor",
            "streamstop doctor --account live-cn",
            "streamstop doctor --json | jq -r 'select(.severity == \"problem\") | .do'",
        ],
        "Exit codes": [
            "0    no problem",
            "1    problems: each says what to do",
            "2    bad input, or a setting has a wrong value",
            "4    Redis did not answer",
        ],
    },
)
@click.option(
    "--account",
    metavar="NAME",
    shell_complete=complete_account,
    help="Also send one status command for a task that cannot exist, to see whether the vendor accepts the key.",
)
@click.option(
    "--wait",
    metavar="TIME",
    type=Duration(),
    default=DIAGNOSIS_TIMEOUT,
    help=f"Wait up to this long for the vendor's answer.  [default: {DIAGNOSIS_TIMEOUT.total_seconds():g}]",
)
@json_option
@redis_option
def doctor(*, account: str | None, wait: timedelta, as_json: bool, redis: str | None) -> None:
    """Examine the queue, and say what is wrong and what to do.

    It looks at Redis (version, persistence, eviction, memory, clock, slow commands), at the workers (lost, stuck,
    versions, clocks, limits that differ), at lanes with jobs and no worker, at pauses, holds and limits, at dead
    letters, and at the settings of this environment. It changes nothing.
    """
    with Client(redis) as client:
        diagnosis = client.diagnose(account, timeout=wait)
    if as_json:
        click.echo(join_lines(map(json_line, diagnosis.findings)))
    else:
        click.echo(join_lines(diagnosis_page(diagnosis)))
    sys.exit(exit_code(diagnosis))


def exit_code(diagnosis: Diagnosis) -> Exit:
    """Return the exit code for what was found."""
    if not diagnosis.reachable:
        return Exit.NO_QUEUE
    return Exit.ENDED_OTHERWISE if diagnosis.problems else Exit.OK


def diagnosis_page(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the lines about all findings, and a count of the problems."""
    for finding in diagnosis.findings:
        yield from _finding_lines(finding)
    problems = len(diagnosis.problems)
    yield counted(problems, "problem") if problems else "no problem"


def _finding_lines(finding: Finding) -> Iterator[str]:
    is_problem = finding.severity is Severity.PROBLEM
    details = f" ({', '.join(f'{name}: {value}' for name, value in finding.facts.items())})"
    text = f"{finding.text}{details if is_problem and finding.check.startswith('redis.') and finding.facts else ''}"
    head = f"{finding.severity.value:<{_INDENT}}"
    yield from textwrap.wrap(printable(text), _WIDTH, initial_indent=head, subsequent_indent=" " * _INDENT)
    if finding.do is not None:
        do = printable(f"do: {finding.do}")
        yield from textwrap.wrap(do, _WIDTH, initial_indent=" " * _INDENT, subsequent_indent=" " * (_INDENT + 4))
