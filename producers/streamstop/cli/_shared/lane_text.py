"""Text about lanes that several commands print."""

from datetime import timedelta

from streamstop._core.durations import duration_text
from streamstop._core.lane_view import LaneState, LaneView

#: How long an error is shown after it came.
_ERROR_SHOWN = timedelta(hours=1)

STATE_COLOURS = {
    LaneState.IDLE: None,
    LaneState.RUNNING: "cyan",
    LaneState.RESTING: "yellow",
    LaneState.FAILING: "red",
    LaneState.NO_WORKER: "red",
    LaneState.HELD: "red",
    LaneState.PAUSED: "magenta",
}


def short_state(state: LaneState) -> str:
    """Return a lane's state in one word, or two."""
    return state.value.replace("_", " ")


def pace_text(pace: float) -> str:
    """Return a pace, in calls per second, with three digits."""
    if pace < 10:
        return f"{pace:.2f}"
    return f"{pace:.1f}" if pace < 100 else f"{pace:.0f}"


def lane_notes(view: LaneView) -> list[str]:
    """Return what a person wants to know of a lane beside its state: its last error, and a limit that somebody set."""
    notes = []
    error, state = view.last_error, view.state_text
    if error is not None and view.at - error.at < _ERROR_SHOWN and error.code not in state:
        notes.append(f"last error {error.code} {duration_text(view.at - error.at)} ago")
    if (override := view.limit_override) is not None:
        until = "" if override.until is None else f" for {duration_text(override.until - view.at)} more"
        reason = f" ({override.reason})" if override.reason else ""
        notes.append(f"limit {override.limit:g}/s set by {override.by}{until}{reason}")
    return notes
