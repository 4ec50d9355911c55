"""Help pages: a command's examples and exit codes are shown as they are written, below its options."""

from collections.abc import Sequence
from typing import Any

import click

#: What stop and status tell scripts; the numbers are :class:`streamstop.cli.exits.Exit`.
EXIT_CODES = (
    "0    all jobs ended stopped, already_stopped or status (without --wait: all are enqueued)",
    "1    all jobs ended, some of them otherwise",
    "2    bad input: nothing was enqueued",
    "3    not all jobs ended in time; they go on",
    "4    Redis did not answer",
    "130  interrupted (Ctrl-C); what was enqueued goes on",
)


class Page(click.Command):
    """A command whose help ends with titled blocks that are never wrapped: title to lines."""

    def __init__(self, *args: Any, blocks: dict[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = blocks

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the blocks."""
        super().format_epilog(ctx, formatter)
        for title, lines in self.blocks.items():
            with formatter.section(title):
                for line in lines:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class PageGroup(Page, click.Group):
    """A group with such a help page."""
