"""Pace: the interval between two calls, and how many jobs may be in flight, from a vendor's limit."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

#: The share of a limit that is never used. It covers calls that arrive a little early or late.
HEADROOM = 0.035
#: The limits that an accounts file, or a person on call, can set.
LOWEST_LIMIT, HIGHEST_LIMIT = 0.001, 100_000


@dataclass(frozen=True)
class Pace:
    """How fast a lane runs."""

    #: µs between two calls.
    interval_us: int
    #: Jobs that may be in flight: as many as the limit allows in one second.
    window: int

    def __str__(self) -> str:
        """Return the pace as a worker's book stores it."""
        return f"{self.interval_us} {self.window}"

    @classmethod
    def of_limit(cls, limit: float) -> Self:
        """Return the pace for a `limit` in calls per second.

        With an interval of 1 / (limit x (1 - headroom)), any ``limit + 1`` calls span more than a second.
        """
        return cls(interval_us=math.ceil(1_000_000 / (limit * (1 - HEADROOM))), window=max(1, math.ceil(limit)))

    @staticmethod
    @lru_cache(maxsize=1024)  # lanes have few limits, and a view of a thousand lanes asks for each
    def limit_of(interval_us: int) -> float:
        """Return the limit, in calls per second, that has this interval: the shortest number that does."""
        limit = 1_000_000 / (interval_us * (1 - HEADROOM))
        rounded = (float(f"{limit:.{digits}g}") for digits in range(1, 8))
        return next((each for each in rounded if Pace.of_limit(each).interval_us == interval_us), limit)
