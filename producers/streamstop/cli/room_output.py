"""What the command line prints about rooms and their shutdowns, without I/O.

The lines fit 80 columns. The columns have fixed widths, so that they do not move while a shutdown is watched.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import click

from streamstop._core.durations import duration_text
from streamstop._core.lane_view import LaneState
from streamstop._core.progress import LaneProgress, Progress, RoomView, ShutdownStatus
from streamstop.cli._shared.lane_text import STATE_COLOURS, pace_text, short_state
from streamstop.cli._shared.output import clip, counted, moment_and_age, outcome_detail, params_text, printable
from streamstop.outcomes import Outcome, Result

_WIDTH = 80
_ACCOUNT, _OPERATION, _BAR, _COUNT, _PACE, _STATE = 13, 25, 9, 11, 6, 11
#: How many lanes the view says why they do not run.
_MOST_REASONS = 3
_UNDISTURBED = frozenset({LaneState.IDLE, LaneState.RUNNING})
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STATUS = {
    ShutdownStatus.OPEN: ("closing", "cyan"),
    ShutdownStatus.DONE: ("done", "green"),
    ShutdownStatus.NEEDS_ATTENTION: ("ended, needs attention", "red"),
    ShutdownStatus.CANCELLED: ("cancelled", "yellow"),
}


def progress_view(progress: Progress, *, max_lanes: int = 1000) -> list[str]:
    """Return the live view, with colours: a bar for each lane and one for the room, the results, and the time left.

    At most `max_lanes` lanes are shown; unfinished lanes go first.
    """
    word, colour = _STATUS[progress.status]
    name = clip(printable(progress.room), _WIDTH - 8 - len(word))
    lanes = [lane for lane in progress.lanes if lane.total]
    listed = sorted(sorted(lanes, key=lambda lane: lane.ended >= lane.total)[:max_lanes], key=_lane_key)
    head = f"{'account':{_ACCOUNT}} {'operation':{_OPERATION}} {'tasks ended':{_BAR + 1 + _COUNT}} {'pace':>{_PACE}}"
    lines = [f"room {name}: {click.style(word, fg=colour, bold=True)}", click.style(head, dim=True)]
    lines += [_lane_line(lane) for lane in listed]
    if len(listed) < len(lanes):
        lines.append(click.style(f"… and {counted(len(lanes) - len(listed), 'more lane')}", dim=True))
    bar = click.style(_bar(progress.ended, progress.total), fg=colour)
    total = f"{'the whole room':{_ACCOUNT + 1 + _OPERATION}} {bar} {_count_text(progress.ended, progress.total)}"
    reasons = [clip(_lane_text(lane), _WIDTH) for lane in _hindered(progress)[:_MOST_REASONS]]
    return [*lines, total, *_wrap(_results_text(progress)), *reasons, _time_text(progress)]


def progress_line(progress: Progress) -> str:
    """Return the progress in one line, for logs."""
    word, _ = _STATUS[progress.status]
    parts = [
        f"{printable(progress.room)}: {word}",
        f"{progress.ended} of {counted(progress.total, 'task')} ended",
        _results_text(progress),
        *(_lane_text(lane) for lane in _hindered(progress)),
        _time_text(progress),
    ]
    return ", ".join(part for part in parts if part)


def progress_json(progress: Progress) -> str:
    """Return the whole progress as one line of JSON."""
    data = progress.model_dump(mode="json")
    derived = {"ended": progress.ended, "pending": progress.pending, "seconds_left": progress.seconds_left}
    return json.dumps(data | derived)


def room_page(room: RoomView, progress: Progress | None, now: datetime) -> list[str]:
    """Return the page about a room. `progress` is that of its open or latest shutdown, if Redis still has it."""
    lines = [f"room        {printable(room.name)}", f"registered  {counted(len(room.tasks), 'task')}"]
    if progress is None:
        shutdown = f"{room.shutdown}, over seven days ago" if room.shutdown else "none: the room was never stopped"
        return [*lines, f"shutdown    {shutdown}"]
    lines.append(f"shutdown    {printable(progress.shutdown)}")
    if progress.opened_at is not None:
        lines.append(f"opened at   {moment_and_age(progress.opened_at, now)}")
    return [*lines, "", *progress_view(progress)]


def room_json(room: RoomView, progress: Progress | None) -> str:
    """Return the content of :func:`room_page` as one line of JSON."""
    shutdown = None if progress is None else json.loads(progress_json(progress))
    return json.dumps({"room": room.name, "registered": len(room.tasks), "shutdown": shutdown})


def outcome_lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield an aligned line for each task that has ended. Failures come last, next to the prompt."""
    ordered = sorted(outcomes, key=_outcome_key)
    width = max((len(outcome.result) for outcome in ordered), default=0)
    names = [_task_text(outcome) for outcome in ordered]
    name_width = max(map(len, names), default=0)
    for outcome, name in zip(ordered, names, strict=True):
        text = f"{outcome.result.value:{width}}  {name:{name_width}}  {outcome_detail(outcome)}"
        yield printable(text).rstrip()


def _task_text(outcome: Outcome) -> str:
    if outcome.params is None:
        return outcome.job_id
    return f"{outcome.account} {outcome.operation} {params_text(outcome.params)}".rstrip()


def _outcome_key(outcome: Outcome) -> tuple[bool, str, str, str]:
    return outcome.result.needs_person, outcome.account, outcome.operation, outcome.job_id


def _results_text(progress: Progress) -> str:
    """Return the number of tasks for each result: ``1230 stopped, 4 not_found``; empty if none has ended."""
    if progress.status is not ShutdownStatus.OPEN and progress.total == 0:
        return "no task was registered"
    return ", ".join(f"{progress.results[result]} {result.value}" for result in Result if progress.results.get(result))


def _time_text(progress: Progress) -> str:
    """Return the estimated time left, or the time that the shutdown took."""
    if progress.status is ShutdownStatus.OPEN:
        seconds = progress.seconds_left
        return "the time left is not known yet" if seconds is None else f"about {duration_text(seconds)} left"
    if progress.done_at is None or progress.opened_at is None:
        return ""
    return f"took {duration_text((progress.done_at - progress.opened_at).total_seconds())}"


def _lane_key(lane: LaneProgress) -> tuple[str, str]:
    return lane.account, lane.operation


def _hindered(progress: Progress) -> list[LaneProgress]:
    """Return the unfinished lanes of an open shutdown that rest, fail, or wait for a person."""
    if progress.status is not ShutdownStatus.OPEN:
        return []
    return [lane for lane in progress.lanes if lane.ended < lane.total and lane.state not in _UNDISTURBED]


def _lane_text(lane: LaneProgress) -> str:
    return printable(f"{lane.account} {lane.operation} {lane.state_text}")


def _lane_line(lane: LaneProgress) -> str:
    pace = f"{pace_text(lane.pace)}/s" if lane.pace else "-"
    colour: str | None
    if lane.ended >= lane.total:
        state, colour = f"{pace:>{_PACE}} done", "green"
    elif lane.state in _UNDISTURBED:
        state, colour = f"{pace:>{_PACE}} {'running' if lane.pace else 'waiting'}", "cyan"
    else:  # it has no pace now
        rest = f" {duration_text(lane.rests)}" if lane.state is LaneState.RESTING else ""
        state, colour = clip(f"{short_state(lane.state)}{rest}", _PACE + 1 + _STATE), STATE_COLOURS[lane.state]
    name = f"{clip(lane.account, _ACCOUNT):{_ACCOUNT}} {clip(lane.operation, _OPERATION):{_OPERATION}}"
    bar = click.style(_bar(lane.ended, lane.total), fg=colour)
    return f"{name} {bar} {_count_text(lane.ended, lane.total)} {click.style(state, fg=colour)}"


def _bar(done: int, total: int) -> str:
    """Return a bar. It is full only once everything is done."""
    full, eighths = divmod(8 * _BAR * min(done, total) // total, 8) if total else (_BAR, 0)
    return ("█" * full + _EIGHTHS[eighths].strip()).ljust(_BAR, "░")


def _count_text(done: int, total: int) -> str:
    """Return ``123/500``, or thousands (``123k/500k``) where that would be too wide."""
    parts = [str(count) if total < 100_000 else f"{count // 1000}k" for count in (done, total)]
    return f"{'/'.join(parts):>{_COUNT}}"


def _wrap(text: str) -> Sequence[str]:
    return textwrap.wrap(text, _WIDTH) or ["nothing has ended yet"]
