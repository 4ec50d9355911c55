"""Exit codes: the one place where an error or a set of outcomes becomes a number for scripts.

The help pages explain them: :data:`streamstop.cli.pages.EXIT_CODES`.
"""

import os
import sys
from collections.abc import Collection
from enum import IntEnum
from typing import Any

import click

from streamstop.cli.pages import PageGroup
from streamstop.cli.showing import printable
from streamstop.errors import InvalidCommand, InvalidSettings, QueueUnavailable
from streamstop.outcomes import Outcome


class Exit(IntEnum):
    """What the command line tells scripts."""

    OK = 0
    ENDED_OTHERWISE = 1
    BAD_INPUT = 2
    STILL_OPEN = 3
    NO_QUEUE = 4
    INTERRUPTED = 130
    #: What a shell reports for a program that SIGPIPE ended: whoever read the output has left.
    READER_LEFT = 141

    @classmethod
    def of(cls, jobs: int, outcomes: Collection[Outcome]) -> "Exit":
        """Return the code for a wait for that many jobs which brought these outcomes."""
        if len(outcomes) < jobs:
            return cls.STILL_OPEN
        return cls.OK if all(outcome.ok for outcome in outcomes) else cls.ENDED_OTHERWISE


class Failure(click.ClickException):
    """Ends the program with a message on stderr and an exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__("\n".join(map(printable, message.splitlines())))
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


class FailingGroup(PageGroup):
    """A group whose commands may raise streamstop's own errors; each has its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (InvalidCommand, InvalidSettings) as error:
            raise Failure(str(error), Exit.BAD_INPUT) from error
        except QueueUnavailable as error:
            raise Failure(str(error), Exit.NO_QUEUE) from error
        except KeyboardInterrupt:
            raise Failure("interrupted", Exit.INTERRUPTED) from None
        except BrokenPipeError:
            # The interpreter flushes stdout once more when it ends, and would complain about the same pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(Exit.READER_LEFT)
