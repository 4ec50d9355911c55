"""Plots as small SVG files: panels of lines over one axis. No library is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

_WIDTH, _HEIGHT = 380, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 40, 24
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
#: The longest line of the caption, in characters.
_CAPTION = 125
#: The most points of a line in a panel.
_POINTS = 180
_STEPS = 4


@dataclass(frozen=True)
class Line:
    """One series: one value for each sample."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One plot: lines of one unit, from zero up."""

    title: str
    lines: Sequence[Line]


def minutes(length: float) -> list[str]:
    """Return the labels of an axis of time."""
    return [f"{length * step / _STEPS:.3g} min" for step in range(_STEPS + 1)]


def svg(panels: Sequence[Panel], labels: Sequence[str], caption: Sequence[str], columns: int = 2) -> str:
    """Return the panels side by side. Labels and points are spaced evenly along the axis.

    `caption` holds the paragraphs below the panels.
    """
    caption = [line for text in caption for line in wrap(text, _CAPTION)]
    rows = -(-len(panels) // columns)
    width, height = columns * _WIDTH, rows * _HEIGHT + 16 * len(caption) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="11" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = number % columns * _WIDTH, number // columns * _HEIGHT
        parts.append(f'<g transform="translate({x},{y})">{_panel(panel, labels)}</g>')
    parts += [
        f'<text x="{_LEFT}" y="{rows * _HEIGHT + 16 * (number + 1)}">{escape(text)}</text>'
        for number, text in enumerate(caption)
    ]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, labels: Sequence[str]) -> str:
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    top = _round_up(max((max(line.values, default=0.0) for line in panel.lines), default=0.0))
    parts = [f'<text x="{_LEFT}" y="15" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(_STEPS + 1):
        y = _TOP + high - high * step / _STEPS
        parts.append(f'<path d="M{_LEFT} {y:.0f}h{wide}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.0f}" text-anchor="end">{top * step / _STEPS:g}</text>')
    for number, label in enumerate(labels):
        x = _LEFT + wide * number / max(1, len(labels) - 1)
        anchor = "end" if number == len(labels) - 1 else "middle"
        parts.append(f'<text x="{x:.0f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{escape(label)}</text>')
    name_at = float(_LEFT)
    for line, colour in zip(panel.lines, _COLOURS, strict=False):
        parts.append(f'<text x="{name_at:.0f}" y="31" fill="{colour}">{escape(line.name)}</text>')
        name_at += 6.2 * len(line.name) + 14
        values = _thinned(line.values)
        last = max(1, len(values) - 1)
        points = " ".join(
            f"{_LEFT + wide * at / last:.1f},{_TOP + high - high * value / top:.1f}" for at, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
    return "".join(parts)


def _thinned(values: Sequence[float]) -> list[float]:
    """Return at most as many values as a panel shows, each the maximum of its interval, so that no peak is lost."""
    size = -(-len(values) // _POINTS) or 1
    return [max(values[start : start + size]) for start in range(0, len(values), size)]


def _round_up(value: float) -> float:
    """Return a round number that is not below `value` and divides into four even steps."""
    unit = 1.0
    while unit * 40 < value:
        unit *= 10
    while unit * 4 > value > 0:
        unit /= 10
    return next((unit * step for step in (4, 8, 12, 20, 40) if unit * step >= value), unit * 40) if value else 4.0
