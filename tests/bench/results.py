"""The benchmark's output: tables and targets as text, a JSON file with every figure, and Markdown made from it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.plot import Panel, svg

#: What limits the commands of a job in a lane with a low limit.
ONE_AT_A_TIME = "at 10 calls/s a take and a report are for one job each, so jobs do not share their commands"

JSON_FILE, MARKDOWN_FILE = "bench.json", "bench.md"


@dataclass(frozen=True)
class Target:
    """A goal for one figure."""

    what: str
    reached: bool
    measured: str
    #: What limits the figure, where that is known. It is shown if the goal was missed.
    limit: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot in its own file; `labels` are those of the points, from left to right."""

    file: str
    labels: Sequence[str]
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Section:
    """The results of one scenario."""

    name: str
    #: A paragraph about what was done.
    text: str
    header: Sequence[str]
    #: Each row has as many cells as the header. The first is its name.
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = ()
    #: The figures behind the table, not rounded.
    figures: Sequence[Mapping[str, Any]] = ()
    plots: Sequence[Plot] = field(default=(), repr=False)
    #: Plots that are already in files.
    written: Sequence[str] = ()


def lines(section: Section) -> Iterator[str]:
    """Return a section as text for a terminal."""
    yield f"{section.name}: {section.text}"
    yield ""
    table = [section.header, *section.rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(section.header))]
    for row in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"  {row[0]:<{widths[0]}}", *cells]).rstrip()
    yield ""


def target_lines(targets: Sequence[Target]) -> Iterator[str]:
    """Return the targets as text for a terminal."""
    for target in targets:
        limit = f". The limit: {target.limit}" if target.limit and not target.reached else ""
        yield f"  {'reached' if target.reached else 'MISSED ':8} {target.what}: {target.measured}{limit}"


def write(section: Section, environment: Mapping[str, str], folder: Path) -> None:
    """Write a section into the files in `folder`. Sections of other scenarios from earlier runs stay."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / JSON_FILE
    recorded: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for plot in section.plots:
        (folder / plot.file).write_text(svg(plot.panels, plot.labels, [section.text, ", ".join(environment.values())]))
    files = [*section.written, *(plot.file for plot in section.plots)]
    data = asdict(section) | {"plots": files, "environment": dict(environment)}
    del data["written"]
    recorded[section.name] = data
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
    (folder / MARKDOWN_FILE).write_text("\n".join(_markdown(recorded)) + "\n")


def _markdown(recorded: Mapping[str, Any]) -> Iterator[str]:
    yield "# Measured"
    yield ""
    yield f"`python -m tests.bench` wrote this, and the same figures, not rounded, into [{JSON_FILE}]({JSON_FILE})."
    for name, section in recorded.items():
        yield from ["", f"## {name}", "", f"{section['text']}", ""]
        yield ", ".join(f"{what} {value}" for what, value in section["environment"].items()) + "."
        yield ""
        yield _row(section["header"])
        yield _row(["---", *("---:" for _ in section["header"][1:])])
        yield from map(_row, section["rows"])
        for target in section["targets"]:
            if target is section["targets"][0]:
                yield ""
            limit = f". The limit: {target['limit']}" if target.get("limit") and not target["reached"] else ""
            yield f"- {'reached' if target['reached'] else '**missed**'}: {target['what']}: {target['measured']}{limit}"
        for plot in section["plots"]:
            yield from ["", f"![{name}]({plot})"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"
