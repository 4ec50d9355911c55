"""Pace: from a vendor's limit to the interval between two calls, and how many jobs may be in flight."""

import math
from dataclasses import dataclass
from typing import Self

#: The share of a limit that is never used, so that calls which arrive a little early or late stay within it.
HEADROOM = 0.035


@dataclass(frozen=True)
class Pace:
    """How fast a lane runs."""

    #: Between two calls, in µs.
    interval_us: int
    #: Jobs that may be in flight: one second's worth of the limit.
    window: int

    def __str__(self) -> str:
        """Return the pace as a worker's book has it."""
        return f"{self.interval_us} {self.window}"

    @classmethod
    def of_limit(cls, limit: float) -> Self:
        """Return the pace for a `limit` in calls per second.

        With an interval of 1 / (limit x (1 - headroom)), any ``limit + 1`` calls span more than a second.
        """
        return cls(interval_us=math.ceil(1_000_000 / (limit * (1 - HEADROOM))), window=max(1, math.ceil(limit)))
