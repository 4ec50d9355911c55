"""The documentation as tests read it: pages, and the Python and shell snippets in them.

A snippet that cannot be run has a comment right before its fence that says why: ``<!-- not run: … -->``.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"(?:^<!-- (?P<key>[a-z ]+): (?P<value>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: In what a page shows of an output: anything, or on a line of its own any lines.
_ANYTHING = "…"


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    language: str
    text: str
    #: The number of its first line in the page, from 1.
    line: int
    #: What the comment before it says: ``not run`` or ``model``, and the rest.
    comment: tuple[str, str] | None

    @property
    def runs(self) -> bool:
        """Whether it is to be run."""
        return self.comment is None or self.comment[0] != "not run"


@dataclass(frozen=True)
class Step:
    """A command of a shell snippet, and the output that the page shows for it."""

    command: str
    shown: Sequence[str]

    def fits(self, output: str) -> bool:
        """Return whether `output` is what the page shows; a page that shows none takes any."""
        if not self.shown:
            return True
        parts = [
            "(?:.*\n)*" if line.strip() == _ANYTHING else ".*".join(map(re.escape, line.split(_ANYTHING))) + "\n"
            for line in self.shown
        ]
        lines = "".join(f"{line.rstrip()}\n" for line in output.splitlines())
        return re.fullmatch("".join(parts), lines) is not None


def snippets(page: Path, language: str) -> list[Snippet]:
    """Return the snippets of a page in one language."""
    text = page.read_text()
    return [
        Snippet(
            found["language"],
            found["text"],
            text.count("\n", 0, found.start("text")) + 1,
            (found["key"], found["value"]) if found["key"] else None,
        )
        for found in _FENCE.finditer(text)
        if found["language"] == language
    ]


def program(page: Path) -> str:
    """Return the Python snippets of a page as one program, each on the lines that it has in the page."""
    lines: list[str] = []
    for snippet in snippets(page, "python"):
        if snippet.runs:
            lines += [""] * (snippet.line - 1 - len(lines)) + snippet.text.splitlines()
    return "\n".join([*lines, ""]) if lines else ""


def steps(page: Path) -> list[Step]:
    """Return the commands of a page's shell snippets, in order."""
    return [step for snippet in snippets(page, "console") if snippet.runs for step in _steps(snippet.text)]


def _steps(text: str) -> Iterator[Step]:
    command, shown = "", list[str]()
    for line in text.splitlines():
        if command and not _is_complete(command):
            command += f"\n{line}"
        elif line.startswith("$ "):
            if command:
                yield Step(command, shown)
            command, shown = line.removeprefix("$ "), []
        else:
            shown.append(line)
    if command:
        yield Step(command, shown)


def _is_complete(command: str) -> bool:
    return subprocess.run(["bash", "-n", "-c", command], stderr=subprocess.DEVNULL, check=False).returncode == 0
