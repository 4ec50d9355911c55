"""A picture of a terminal: runs a command in a pseudo-terminal and writes what its screen shows at the end as an SVG.

::

    python -m tests.support.terminal_svg docs/images/demo.svg python -m streamstop_simulator.demo

The picture needs no font and no style sheet from elsewhere, and follows the reader's light or dark colour scheme.
"""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from xml.sax.saxutils import escape

COLUMNS, ROWS = 80, 60
_CELL_W, _CELL_H, _MARGIN = 8.4, 18, 16
_COLOURS = {31: "red", 32: "green", 33: "yellow", 36: "cyan"}
_TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")
#: Words with single spaces between them: where gaps are wider, viewers may close them up.
_WORDS = re.compile(r"\S+(?: \S+)*")
_STYLE = """\
  <style>
    .page { fill: #fbfbfc; stroke: #d5dae0; } text { fill: #24292f; }
    .dim { fill: #6e7781; } .bold { font-weight: 600; }
    .red { fill: #c0392b; } .green { fill: #1a7f37; } .yellow { fill: #9a6700; } .cyan { fill: #0b7285; }
    @media (prefers-color-scheme: dark) {
      .page { fill: #14181d; stroke: #30363d; } text { fill: #e6edf3; } .dim { fill: #8b949e; }
      .red { fill: #ff7b72; } .green { fill: #56d364; } .yellow { fill: #e3b341; } .cyan { fill: #56c8d8; }
    }
  </style>"""


@dataclass
class Screen:
    """What a terminal shows after some output: rows of characters, each with its classes. It scrolls without end."""

    rows: list[list[tuple[str, str]]] = field(default_factory=lambda: [[]])
    _row: int = 0
    _column: int = 0
    _bold: bool = False
    _dim: bool = False
    _colour: str = ""

    def write(self, output: str) -> None:
        """Take output with its control sequences: colours, cursor up, erase line. Others change nothing that shows."""
        for numbers, command, control, text in _TOKEN.findall(output):
            if text:
                self._put(text)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._row += 1
                self._column = 0
                self.rows += [[] for _ in range(self._row + 1 - len(self.rows))]
            elif command == "m":
                self._style([int(number or 0) for number in numbers.split(";")])
            elif command == "A":
                self._row = max(0, self._row - int(numbers or 1))
            elif command == "K":
                self.rows[self._row] = []

    def _put(self, text: str) -> None:
        row = self.rows[self._row]
        classes = " ".join(c for c in ("bold" * self._bold, "dim" * self._dim, self._colour) if c)
        row += [(" ", "")] * (self._column - len(row))
        row[self._column : self._column + len(text)] = [(character, classes) for character in text]
        self._column += len(text)

    def _style(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number == 0:
                self._bold, self._dim, self._colour = False, False, ""
            self._bold |= number == 1
            self._dim |= number == 2
            self._colour = _COLOURS.get(number, self._colour)

    def svg(self, title: str) -> str:
        """Return the picture, without empty rows at its end."""
        rows = list(self.rows)
        while rows and not "".join(character for character, _ in rows[-1]).strip():
            rows.pop()
        width, height = round(COLUMNS * _CELL_W + 2 * _MARGIN), len(rows) * _CELL_H + 2 * _MARGIN
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}" '
            'font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14">',
            f"  <title>{escape(title)}</title>",
            _STYLE,
            f'  <rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]
        for number, row in enumerate(rows):
            lines += _row(row, _MARGIN + number * _CELL_H + 13)
        return "\n".join([*lines, "</svg>", ""])


def _row(row: Sequence[tuple[str, str]], y: float) -> list[str]:
    """Return a row as texts: one for each run of one style without a gap, as wide as its cells."""
    line = "".join(character for character, _ in row)
    texts = []
    for found in _WORDS.finditer(line):
        start = found.start()
        for end in range(found.start() + 1, found.end() + 1):
            if end == found.end() or row[end][1] != row[start][1]:
                texts.append(_text(line[start:end], row[start][1], start, y))
                start = end
    return [text for text in texts if text]


def _text(run: str, classes: str, column: int, y: float) -> str:
    """Return a run of characters of one style as a text; nothing where it is blank."""
    column += len(run) - len(run.lstrip())
    run = run.strip()
    styled = f' class="{classes}"' if classes else ""
    width = f'textLength="{len(run) * _CELL_W:.1f}" lengthAdjust="spacingAndGlyphs"'
    return run and f'  <text{styled} x="{_MARGIN + column * _CELL_W:.1f}" y="{y}" {width}>{escape(run)}</text>'


def output_of(command: Sequence[str]) -> str:
    """Run `command` in a pseudo-terminal, and return everything that it wrote. Raises CalledProcessError."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=environ) as process:
        os.close(slave)
        output = b""
        while chunk := _read(master):
            output += chunk
    os.close(master)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return output.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def main(path: str, *command: str) -> None:
    """Write the picture."""
    screen = Screen()
    screen.write(output_of(command))
    Path(path).write_text(screen.svg(" ".join([Path(command[0]).name, *command[1:]])))


if __name__ == "__main__":
    main(*sys.argv[1:])
