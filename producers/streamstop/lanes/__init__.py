"""Lanes: where jobs wait in Redis, and the only code that moves them."""

from streamstop.lanes.lanes import MOST_LAPSES, UNREACHABLE, Lanes
from streamstop.lanes.names import Lane
from streamstop.lanes.pace import Pace
from streamstop.lanes.terms import (
    ON_TIME,
    Claim,
    Claimed,
    LaneView,
    LastCall,
    Lateness,
    Letter,
    Queued,
    Settlement,
    Swept,
    Tries,
)

__all__ = [
    "MOST_LAPSES",
    "ON_TIME",
    "UNREACHABLE",
    "Claim",
    "Claimed",
    "Lane",
    "LaneView",
    "Lanes",
    "LastCall",
    "Lateness",
    "Letter",
    "Pace",
    "Queued",
    "Settlement",
    "Swept",
    "Tries",
]
