"""Exit codes: how errors and outcomes become the numbers that scripts read."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import click

from streamstop.cli._shared.help_pages import PageGroup
from streamstop.cli._shared.output import printable
from streamstop.errors import InvalidCommand, InvalidSettings, QueueUnavailable
from streamstop.outcomes import Outcome


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    ENDED_OTHERWISE = 1
    BAD_INPUT = 2
    STILL_OPEN = 3
    NO_QUEUE = 4
    INTERRUPTED = 130
    #: The code that a shell reports for a program that SIGPIPE ended: the reader of the output has left.
    READER_LEFT = 141

    @classmethod
    def of(cls, jobs: int, outcomes: Collection[Outcome]) -> "Exit":
        """Return the code for a wait for `jobs` jobs that ended with `outcomes`."""
        if len(outcomes) < jobs:
            return cls.STILL_OPEN
        return cls.OK if all(outcome.ok for outcome in outcomes) else cls.ENDED_OTHERWISE


#: The exit codes of stop and status, as their help pages list them.
EXIT_CODES = (
    "0    all jobs ended stopped, already_stopped or status (without --wait: all are enqueued)",
    "1    all jobs ended, but some with another result",
    "2    bad input: nothing was enqueued",
    "3    some jobs did not end in time; they continue",
    "4    Redis did not answer",
    "130  interrupted (Ctrl-C); what was enqueued continues",
)


class Failure(click.ClickException):
    """Ends the program with a message on stderr and an exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__("\n".join(map(printable, message.splitlines())))
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


@contextmanager
def until_ctrl_c() -> Iterator[None]:
    """Exit with 130 and without a message on Ctrl-C in the block, which has no other end."""
    try:
        yield
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            click.echo(err=True)  # the terminal has shown ^C, and the prompt follows
        sys.exit(Exit.INTERRUPTED)


class FailingGroup(PageGroup):
    """A group that turns streamstop's own errors into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and raise :class:`Failure` where it fails in a known way."""
        try:
            return super().invoke(ctx)
        except (InvalidCommand, InvalidSettings) as error:
            raise Failure(str(error), Exit.BAD_INPUT) from error
        except QueueUnavailable as error:
            raise Failure(str(error), Exit.NO_QUEUE) from error
        except KeyboardInterrupt:
            raise Failure("interrupted", Exit.INTERRUPTED) from None
        except BrokenPipeError:
            # The interpreter flushes stdout again at exit, and would report the same broken pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(Exit.READER_LEFT)
