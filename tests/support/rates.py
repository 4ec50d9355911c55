"""Rates that the simulated vendors saw, judged so that a process that stands still for seconds changes nothing."""

from collections.abc import Sequence

from streamstop_simulator import Call

#: The seconds of a window.
_WINDOW_S = 3.0


def most_in(calls: Sequence[Call], seconds: float) -> int:
    """Return the most calls that arrived in any window of that length."""
    moments = sorted(call.arrived_monotonic for call in calls)
    return max((sum(first <= moment < first + seconds for moment in moments) for first in moments), default=0)


def assert_one_pace(calls: Sequence[Call], limit: float) -> None:
    """Check that a lane's calls kept one pace, whoever made them.

    When a process stands still, what is in flight arrives at once afterwards: one second's calls at most. So three
    seconds have four seconds' calls at most, where two paces make six. A single second proves nothing.
    """
    assert most_in(calls, _WINDOW_S) <= (_WINDOW_S + 1) * limit + 1
