"""Help pages that end with blocks of examples, input formats and exit codes."""

from collections.abc import Sequence
from typing import Any

import click


class Page(click.Command):
    """A command whose help ends with titled blocks of lines, which are never wrapped."""

    def __init__(self, *args: Any, blocks: dict[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = blocks

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the blocks below the options."""
        super().format_epilog(ctx, formatter)
        for title, lines in self.blocks.items():
            with formatter.section(title):
                for line in lines:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class PageGroup(Page, click.Group):
    """A group of commands with such a help page."""
