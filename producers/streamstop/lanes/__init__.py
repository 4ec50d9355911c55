"""Lanes: where jobs wait in Redis, and the only code that moves them."""

from streamstop.lanes.lanes import Lanes
from streamstop.lanes.names import Lane
from streamstop.lanes.pace import Pace
from streamstop.lanes.reports import Dropped, Ended, Released, Renewed, Report, Retried, Throttled
from streamstop.lanes.schedule import BATCH, MOST_LAPSES, Book, Reported, Schedule
from streamstop.lanes.terms import (
    ON_TIME,
    LaneView,
    LastCall,
    Lateness,
    Letter,
    Queued,
    Settlement,
    Swept,
    Take,
    Taken,
    Tries,
)

__all__ = [
    "BATCH",
    "MOST_LAPSES",
    "ON_TIME",
    "Book",
    "Dropped",
    "Ended",
    "Lane",
    "LaneView",
    "Lanes",
    "LastCall",
    "Lateness",
    "Letter",
    "Pace",
    "Queued",
    "Released",
    "Renewed",
    "Report",
    "Reported",
    "Retried",
    "Schedule",
    "Settlement",
    "Swept",
    "Take",
    "Taken",
    "Throttled",
    "Tries",
]
