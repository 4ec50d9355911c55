"""How far a shutdown is, as lines of text: pure, within 80 columns, in widths that do not jump while it goes on."""

import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

from streamstop.cli.showing import detail, printable
from streamstop.outcomes import Outcome, Result
from streamstop.rooms import LaneProgress, Progress, RoomView, ShutdownStatus

_WIDTH = 80
_ACCOUNT, _OPERATION, _BAR, _COUNT, _PACE = 13, 25, 9, 11, 6
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STATUS = {
    ShutdownStatus.OPEN: ("closing", "cyan"),
    ShutdownStatus.DONE: ("done", "green"),
    ShutdownStatus.NEEDS_ATTENTION: ("ended, needs attention", "red"),
    ShutdownStatus.CANCELLED: ("cancelled", "yellow"),
}


def view(progress: Progress, *, most_lanes: int = 1000) -> list[str]:
    """Return the live view, with colours: a bar a lane, one for the whole, and what it came to so far.

    Of more than `most_lanes`, those are shown that are under way.
    """
    word, colour = _STATUS[progress.status]
    name = _clip(printable(progress.room), _WIDTH - 8 - len(word))
    lanes = [lane for lane in progress.lanes if lane.total]
    shown = sorted(sorted(lanes, key=lambda lane: lane.ended >= lane.total)[:most_lanes], key=_name)
    head = f"{'account':{_ACCOUNT}} {'operation':{_OPERATION}} {'tasks ended':{_BAR + 1 + _COUNT}} {'pace':>{_PACE}}"
    lines = [f"room {name}: {click.style(word, fg=colour, bold=True)}", click.style(head, dim=True)]
    lines += [_lane_line(lane) for lane in shown]
    if len(shown) < len(lanes):
        lines.append(click.style(f"… and {number(len(lanes) - len(shown), 'more lane')}", dim=True))
    bar = click.style(_bar(progress.ended, progress.total), fg=colour)
    whole = f"{'the whole room':{_ACCOUNT + 1 + _OPERATION}} {bar} {_count(progress.ended, progress.total)}"
    return [*lines, whole, *_wrapped(results(progress)), time_left(progress)]


def line(progress: Progress) -> str:
    """Return how far it is in one line, for whoever reads it in a log."""
    word, _ = _STATUS[progress.status]
    resting = [f"{lane.account} {lane.operation} rests {_seconds(lane.rests)}" for lane in progress.lanes if lane.rests]
    parts = [
        f"{printable(progress.room)}: {word}",
        f"{progress.ended} of {number(progress.total, 'task')} ended",
        results(progress),
        *(resting if progress.status is ShutdownStatus.OPEN else ()),
        time_left(progress),
    ]
    return ", ".join(part for part in parts if part)


def to_json(progress: Progress) -> str:
    """Return everything that is known of it as one line of JSON."""
    told = progress.model_dump(mode="json")
    derived = {"ended": progress.ended, "pending": progress.pending, "seconds_left": progress.seconds_left}
    return json.dumps(told | derived)


def results(progress: Progress) -> str:
    """Return how many tasks ended how: ``1230 stopped, 4 not_found``."""
    return ", ".join(f"{progress.results[result]} {result.value}" for result in Result if progress.results.get(result))


def time_left(progress: Progress) -> str:
    """Return the time that is expected to be left, or that it took."""
    if progress.status is ShutdownStatus.OPEN:
        left = progress.seconds_left
        return "the time left is not known yet" if left is None else f"about {_seconds(left)} left"
    if progress.done_at is None or progress.opened_at is None:
        return ""
    return f"took {_seconds((progress.done_at - progress.opened_at).total_seconds())}"


def room_page(room: RoomView, progress: Progress | None) -> list[str]:
    """Return the page about a room; `progress` is its open or latest shutdown's, if one is known."""
    lines = [f"room        {printable(room.name)}", f"registered  {number(len(room.tasks), 'task')}"]
    if progress is None:
        gone = f"{room.shutdown}, over seven days ago" if room.shutdown else "none: nobody has stopped the room"
        return [*lines, f"shutdown    {gone}"]
    opened = "" if progress.opened_at is None else f", of {progress.opened_at.isoformat()}"
    return [*lines, f"shutdown    {printable(progress.shutdown)}{opened}", "", *view(progress)]


def room_json(room: RoomView, progress: Progress | None) -> str:
    """Return the same as one line of JSON."""
    told = None if progress is None else json.loads(to_json(progress))
    return json.dumps({"room": room.name, "registered": len(room.tasks), "shutdown": told})


def outcome_lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield an aligned line for each task that has ended; those that need a person come last, next to the prompt."""
    ordered = sorted(outcomes, key=lambda one: (one.result.needs_person, one.account, one.operation, one.job_id))
    width = max((len(outcome.result) for outcome in ordered), default=0)
    names = [_task(outcome) for outcome in ordered]
    name_width = max(map(len, names), default=0)
    for outcome, name in zip(ordered, names, strict=True):
        text = f"{outcome.result.value:{width}}  {name:{name_width}}  {detail(outcome)}"
        yield printable(text).rstrip()


def _task(outcome: Outcome) -> str:
    if outcome.params is None:
        return outcome.job_id
    return " ".join([outcome.account, outcome.operation, *(f"{key}={value}" for key, value in outcome.params.items())])


def number(count: int, noun: str) -> str:
    """Return a count in words: ``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _name(lane: LaneProgress) -> tuple[str, str]:
    return lane.account, lane.operation


def _lane_line(lane: LaneProgress) -> str:
    if lane.ended >= lane.total:
        state, colour = "done", "green"
    elif lane.rests:
        state, colour = f"rests {_seconds(lane.rests)}", "yellow"
    else:
        state, colour = ("running", "cyan") if lane.pace else ("waiting", "cyan")
    pace = _rate(lane.pace) if lane.pace else "-"
    name = f"{_clip(lane.account, _ACCOUNT):{_ACCOUNT}} {_clip(lane.operation, _OPERATION):{_OPERATION}}"
    bar = click.style(_bar(lane.ended, lane.total), fg=colour)
    return f"{name} {bar} {_count(lane.ended, lane.total)} {pace:>{_PACE}} {click.style(state, fg=colour)}"


def _bar(done: int, total: int) -> str:
    """Return a bar that is full only when all is done."""
    full, eighths = divmod(8 * _BAR * min(done, total) // total, 8) if total else (_BAR, 0)
    return ("█" * full + _EIGHTHS[eighths].strip()).ljust(_BAR, "░")


def _count(done: int, total: int) -> str:
    """Return ``123/500``, in thousands where it would be too wide."""
    short = [str(number) if total < 100_000 else f"{number // 1000}k" for number in (done, total)]
    return f"{'/'.join(short):>{_COUNT}}"


def _rate(pace: float) -> str:
    if pace < 10:
        return f"{pace:.2f}/s"
    return f"{pace:.1f}/s" if pace < 100 else f"{pace:.0f}/s"


def _seconds(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{math.ceil(seconds / 3600)} h"


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, _WIDTH) or ["nothing has ended yet"]
