"""Charts: the geometry of a lane's calls per second against its limit. Templates draw them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamstop_server.page.call_history import STEPS, Step

#: The size of a small chart, and how many steps one of its points stands for.
SPARK_WIDTH, SPARK_HEIGHT, _PER_POINT = 60, 16, 2
#: The size of a large chart, and the room above its highest value.
WIDTH, HEIGHT, _TOP = 720, 130, 8


@dataclass(frozen=True)
class Spark:
    """A small chart: a line, the height of the limit, and where calls were throttled."""

    points: str
    limit_y: float | None
    throttled: Sequence[int]
    highest: float


@dataclass(frozen=True)
class Bar:
    """One step of a large chart; calls that were throttled are its upper part."""

    x: float
    y: float
    height: float
    throttled_height: float


@dataclass(frozen=True)
class Chart:
    """A large chart."""

    bars: Sequence[Bar]
    bar_width: float
    limit_y: float | None
    highest: float
    throttled: int


def spark_of(steps: Sequence[Step], limit: float | None) -> Spark | None:
    """Return the small chart of a lane; None if it made no call."""
    highest = max(step.rate for step in steps)
    if not highest:
        return None
    top = max(highest, limit or 0)
    pairs = [steps[first : first + _PER_POINT] for first in range(0, STEPS, _PER_POINT)]
    xs = range(0, SPARK_WIDTH, SPARK_WIDTH // len(pairs))
    heights = [_y(sum(step.rate for step in pair) / len(pair), top, SPARK_HEIGHT) for pair in pairs]
    return Spark(
        points=" ".join(f"{x},{y:g}" for x, y in zip(xs, heights, strict=True)),
        limit_y=None if limit is None else _y(limit, top, SPARK_HEIGHT),
        throttled=[x for x, pair in zip(xs, pairs, strict=True) if any(step.throttled for step in pair)],
        highest=highest,
    )


def chart_of(steps: Sequence[Step], limit: float | None) -> Chart:
    """Return the large chart of a lane."""
    highest = max(step.rate for step in steps)
    top, height = max(highest, limit or 0, 0.1), HEIGHT - _TOP
    width = WIDTH / STEPS
    bars = []
    for number, step in enumerate(steps):
        if step.calls:
            size = height * step.rate / top
            share = min(1.0, step.throttled / step.calls)
            x, y = number * width, _TOP + height - size
            bars.append(Bar(round(x, 1), round(y, 1), round(size, 1), round(size * share, 1)))
    return Chart(
        bars=bars,
        bar_width=round(width - 1.5, 1),
        limit_y=None if limit is None else round(_TOP + height * (1 - limit / top), 1),
        highest=highest,
        throttled=round(sum(step.throttled for step in steps)),
    )


def _y(rate: float, top: float, height: float) -> float:
    """Return the place of a rate in a small chart; a line at the very edge would be cut."""
    return round(height - 1 - (height - 2) * min(1.0, rate / top), 1)
