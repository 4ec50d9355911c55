"""Help pages that end with blocks of examples, input formats and exit codes."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import click

#: Help pages fit it.
_WIDTH = 80
_EXAMPLES = "Examples"
#: A word of a shell's command; quoted text is one.
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
#: The first column of a line of two, with the space behind it.
_COLUMN = re.compile(r"\S.*?\s{2,}")


class Page(click.Command):
    """A command whose help ends with titled blocks of lines. A wrapped example can still be pasted."""

    def __init__(self, *args: Any, blocks: dict[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = blocks

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the blocks below the options."""
        super().format_epilog(ctx, formatter)
        for title, lines in self.blocks.items():
            with formatter.section(title):
                indent = formatter.current_indent
                wrap = _command_lines if title == _EXAMPLES else _text_lines
                for line in lines:
                    for part in wrap(line, max(_WIDTH, formatter.width) - indent):
                        formatter.write(f"{'':{indent}}{part}\n")


class PageGroup(Page, click.Group):
    """A group of commands with such a help page."""


def _command_lines(command: str, width: int) -> Iterator[str]:
    """Yield a shell's command, on lines that end with backslashes where it is longer than `width`."""
    line, *words = _WORD.findall(command)
    for at, word in enumerate(words):
        mark = " \\" if at < len(words) - 1 else ""
        if len(f"{line} {word}{mark}") > width:
            yield f"{line} \\"
            line = f"    {word}"
        else:
            line = f"{line} {word}"
    yield line


def _text_lines(text: str, width: int) -> Iterator[str]:
    """Yield a line of two columns, and below it what is left of the second. A line of JSON stays whole."""
    column = _COLUMN.match(text)
    if len(text) <= width or text.startswith("{"):
        yield text
    else:
        yield from textwrap.wrap(text, width, subsequent_indent=" " * (column.end() if column else 4))
