"""What the command line prints about lanes, without I/O.

The table fits 80 columns. Where account and operation are too long for one column, accounts have lines of their own.
What does not fit at the end of a lane's line follows on the next.
"""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import timedelta

import click

from streamstop._core.lane_view import LaneView
from streamstop.cli._shared.lane_text import STATE_COLOURS, lane_notes, pace_text, short_state
from streamstop.cli._shared.output import counted, printable

_NUMBERS = (("waiting", 7), ("oldest", 6), ("flight", 6), ("defer", 5), ("calls/s", 9), ("left", 4))
_NUMBERS_WIDTH = sum(1 + width for _, width in _NUMBERS)
#: The longest of the states in one word.
_STATE = 9
_INDENT = "    "
_DAY_S = 86400


def lane_table(views: Sequence[LaneView], width: int | None) -> list[str]:
    """Return the table of the lanes, with colours, and a line that sums them up.

    `width` is that of the terminal; None: whole lines, however long.
    """
    if not views:
        return []
    room = None if width is None else max(20, width - _NUMBERS_WIDTH - 1 - _STATE)
    accounts, operations = (max(map(len, column)) for column in zip(*map(_names, views), strict=True))
    is_flat = room is None or accounts + 1 + operations <= room
    column = accounts + 1 + operations if is_flat or room is None else min(room, 2 + operations)
    title = f"{'account':{accounts}} operation" if is_flat else "account, operation"
    head = " ".join([f"{title:{column}}", *(f"{name:>{size}}" for name, size in _NUMBERS), "state"])
    lines = [click.style(head, dim=True)]
    last_account = None
    for view in views:
        account, operation = _names(view)
        if is_flat:
            name = f"{account:{accounts}} {operation}"
        else:
            if account != last_account:
                lines.append(account)
            last_account, name = account, f"  {operation}"
        if len(name) > column:
            lines.append(name)
            name = ""
        lines += _lane_lines(view, f"{name:{column}}", width)
    return [*lines, lanes_summary(views)]


def lanes_summary(views: Sequence[LaneView]) -> str:
    """Return the sums over the lanes: ``3 lanes: 5222 waiting, 9 in flight, 4 deferred``."""
    parts = {
        "waiting": sum(view.waiting for view in views),
        "in flight": sum(view.in_flight for view in views),
        "deferred": sum(view.deferred for view in views),
    }
    return f"{counted(len(views), 'lane')}: {', '.join(f'{count} {word}' for word, count in parts.items())}"


def _lane_lines(view: LaneView, name: str, width: int | None) -> Iterator[str]:
    """Yield a lane's line. The state in full is on it if it fits, else what follows its word is below."""
    text = printable("; ".join([view.state_text, *lane_notes(view)]))
    colour = STATE_COLOURS[view.state]
    numbers = " ".join(f"{cell:>{size}}" for cell, (_, size) in zip(_cells(view), _NUMBERS, strict=True))
    line = f"{name} {numbers}"
    if width is None or len(line) + 1 + len(text) <= width:
        yield f"{line} {click.style(text, fg=colour)}"
        return
    word = short_state(view.state)
    if len(line) + 1 + len(word) <= width:
        line = f"{line} {click.style(word, fg=colour)}"
        text = text.removeprefix(word).lstrip(":; ")
    yield line
    for part in textwrap.wrap(text, width - len(_INDENT)):
        yield f"{_INDENT}{click.style(part, fg=colour)}"


def _cells(view: LaneView) -> list[str]:
    pace = "-" if view.pace is None else pace_text(view.pace)
    limit = "" if view.limit is None else f"/{view.limit:g}"
    left = view.seconds_left
    return [
        str(view.waiting),
        "-" if view.oldest_waiting is None else _brief(view.oldest_waiting / timedelta(seconds=1)),
        str(view.in_flight),
        str(view.deferred),
        f"{pace}{limit}",
        "-" if left is None or not view.backlog else _brief(left),
    ]


def _brief(seconds: float) -> str:
    """Return a duration in at most four characters: ``24s``, ``18m``, ``3h``, ``12d``."""
    for unit, size, most in (("s", 1, 100), ("m", 60, 100), ("h", 3600, 100)):
        if seconds / size < most:
            return f"{round(seconds / size)}{unit}"
    return f"{min(999, round(seconds / _DAY_S))}d"


def _names(view: LaneView) -> tuple[str, str]:
    return printable(view.account), printable(view.operation)
