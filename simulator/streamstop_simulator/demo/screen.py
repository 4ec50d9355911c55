"""Formats the demo's output: values to lines of at most 80 columns. There is no I/O.

The lines contain colour codes; the writer removes them where colours cannot be shown.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import click

from streamstop import Result

_EIGHTHS_WIDE = " ▏▎▍▌▋▊▉█"
_EIGHTHS_HIGH = " ▁▂▃▄▅▆▇█"
_BAR = 15
_PLOT = 30
#: A lane that runs below this share of its limit is recovering from a rest.
_FULL_PACE = 0.9
_ALWAYS_SHOWN = (Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND)


@dataclass(frozen=True)
class LaneNow:
    """The current state of a lane."""

    account: str
    operation: str
    #: Calls per second.
    limit: float
    total: int
    ended: int = 0
    #: The remaining rest of the lane.
    rest: timedelta = timedelta(0)
    #: How many jobs wait for a retry.
    deferred: int = 0
    #: How many jobs wait for their first call, or are being called.
    to_call: int = 0
    #: The lane's current calls per second; None before its first job.
    pace: float | None = None
    #: The time until the last job ended; None while a job is open.
    took: timedelta | None = None


@dataclass(frozen=True)
class Totals:
    """The sums over all lanes, and the vendors' counts."""

    elapsed: timedelta
    ended: int
    total: int
    calls: int
    errors: int
    throttled: int
    over_limit: int


@dataclass(frozen=True)
class LaneEnd:
    """The result of a lane."""

    account: str
    operation: str
    limit: float
    results: Mapping[Result, int]
    #: The number of calls in each second since the demo's first call.
    calls_per_second: Sequence[int]
    errors: int
    throttled: int
    #: The most calls in any second, not only in whole ones.
    most_in_a_second: int
    took: timedelta

    @property
    def calls(self) -> int:
        """The number of calls."""
        return sum(self.calls_per_second)


def progress_lines(lanes: Sequence[LaneNow], totals: Totals) -> list[str]:
    """Return the live view: one line per lane, and one for all lanes."""
    head = f"{'account':13} {'operation':25} {'limit':>5} {'tasks ended':{_BAR + 6}} now"
    lines = [_dim(head)]
    for before, lane in zip([None, *lanes], lanes, strict=False):
        account = "" if before is not None and before.account == lane.account else lane.account
        text, colour = state(lane)
        bar = click.style(progress_bar(lane.ended, lane.total, _BAR), fg=colour)
        count = f"{lane.ended}/{lane.total}"
        start = f"{account:13} {lane.operation:25} {_rate(lane.limit):>5}"
        lines.append(f"{start} {bar} {count:>5} {click.style(text, fg=colour)}")
    return [*lines, "", totals_line(totals)]


def totals_line(totals: Totals) -> str:
    """Return the line for all lanes."""
    return (
        f"{_seconds(totals.elapsed):>6}  {totals.ended} of {totals.total} ended, {totals.calls} calls: "
        f"{totals.errors} got a 500, {totals.throttled} throttled, {_over(totals.over_limit)} over a limit"
    )


def state(lane: LaneNow) -> tuple[str, str]:
    """Return the state of a lane in a word or two, and its colour."""
    if lane.ended == lane.total:
        return (f"done {_seconds(lane.took)}" if lane.took is not None else "done"), "green"
    if lane.rest > timedelta(0):
        return f"rests {_seconds(lane.rest)}", "yellow"
    if lane.deferred and not lane.to_call:
        return f"{lane.deferred} to retry", "yellow"
    if lane.pace is not None and lane.pace < _FULL_PACE * lane.limit:
        return f"at {_rate(lane.pace)}", "yellow"
    return "running", "cyan"


def progress_bar(done: int, total: int, width: int) -> str:
    """Return a bar of `width` characters; it is full only if `done` equals `total`."""
    full, eighths = divmod(8 * width * done // total, 8) if total else (width, 0)
    return ("█" * full + _EIGHTHS_WIDE[eighths].strip()).ljust(width, "░")


def table_lines(lanes: Sequence[LaneEnd]) -> list[str]:
    """Return the table of results: for each lane, the number of jobs by result, calls and faults."""
    seen = [result for result in Result if any(lane.results.get(result) for lane in lanes)]
    results = [*_ALWAYS_SHOWN, *(result for result in seen if result not in _ALWAYS_SHOWN)]
    columns = [*((result.value.replace("_", " ").split()) for result in results), ["calls"], ["500s"], ["throttled"]]
    upper = "".join(f"{(words[0] if len(words) > 1 else ''):>{_width(words)}}" for words in columns)
    lower = "".join(f"{words[-1]:>{_width(words)}}" for words in columns)
    widths = [_width(words) for words in columns]
    lines = [_dim(f"{'':27}{upper}"), _dim(f"{'outcomes':27}{lower}{'took':>7}")]
    sums: Counter[int] = Counter()
    for account in dict.fromkeys(lane.account for lane in lanes):
        lines.append(account)
        for lane in (lane for lane in lanes if lane.account == account):
            numbers = [*(lane.results.get(result, 0) for result in results), lane.calls, lane.errors, lane.throttled]
            sums.update(dict(enumerate(numbers)))
            lines.append(f"{f'  {lane.operation}':27}{_cells(numbers, widths)}{_seconds(lane.took):>7}")
    together = [sums[index] for index in range(len(columns))]
    longest = max((lane.took for lane in lanes), default=timedelta(0))
    return [*lines, click.style(f"{'together':27}{_cells(together, widths)}{_seconds(longest):>7}", bold=True)]


def plot_lines(lanes: Sequence[LaneEnd]) -> list[str]:
    """Return the plot of calls per second: for each lane, bars below a line that marks its limit."""
    seconds = max((len(lane.calls_per_second) for lane in lanes), default=0)
    step = max(1, math.ceil(seconds / _PLOT))
    cells = math.ceil(seconds / step)
    wide = 2 if 2 * cells <= _PLOT else 1
    lines = [_dim(f"{'calls per second':27}{'limit':>6}   {'':{_PLOT}}  most in 1 s")]
    for account in dict.fromkeys(lane.account for lane in lanes):
        here = [lane for lane in lanes if lane.account == account]
        for lane in here:
            title = account if lane is here[0] else ""
            values = _averages(lane.calls_per_second, step, cells)
            roof = "".join(
                click.style("█" * wide, fg="red") if value > lane.limit else _dim("╌" * wide) for value in values
            )
            bars = "".join(_EIGHTHS_HIGH[_level(value, lane.limit)] * wide for value in values)
            colour = "red" if max(values, default=0) > lane.limit else "cyan"
            most = f"{lane.most_in_a_second:>3} of {lane.limit:g}"
            lines.append(f"{title:27}{_rate(lane.limit):>6}   {roof}")
            lines.append(f"{f'  {lane.operation}':36}{click.style(bars.ljust(_PLOT), fg=colour)}  {most}")
    return [*lines, _dim(f"{'':36}{_axis(cells, wide, step)}")]


def over_limit_line(over_limit: int) -> str:
    """Return the number of calls over a limit, as a line."""
    return click.style(f"calls over a limit: {over_limit}", fg="red" if over_limit else "green", bold=True)


def _cells(numbers: Sequence[int], widths: Sequence[int]) -> str:
    return "".join(
        f"{number:>{width}}" if number else _dim(f"{'·':>{width}}")
        for number, width in zip(numbers, widths, strict=True)
    )


def _width(words: Sequence[str]) -> int:
    return max(map(len, words)) + 1


def _averages(counts: Sequence[int], step: int, cells: int) -> list[float]:
    return [sum(counts[start : start + step]) / step for start in range(0, cells * step, step)]


def _level(value: float, limit: float) -> int:
    return min(8, math.ceil(8 * value / limit))


def _axis(cells: int, wide: int, step: int) -> str:
    """Return the time axis of the plot, one label every five cells."""
    return "".join(f"{cell * step:<{5 * wide}}" for cell in range(0, cells, 5)).rstrip() + " s"


def _rate(calls_per_second: float) -> str:
    return f"{calls_per_second:.1f}".removesuffix(".0") + "/s"


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.1f} s"


def _over(over_limit: int) -> str:
    return click.style(str(over_limit), fg="red" if over_limit else "green")


def _dim(text: str) -> str:
    return click.style(text, dim=True)
