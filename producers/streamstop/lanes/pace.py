"""Pace: from a vendor's limit to the interval between two calls, and how many jobs may be on their way."""

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
    #: Jobs that may be admitted and unreported: one second's worth of the limit.
    window: int
    #: Whether a worker that has the account says so; else it is the vendor's page, until such a worker has spoken.
    of_account: bool = True

    @classmethod
    def of_limit(cls, limit: float, *, of_account: bool = True) -> Self:
        """Return the pace for a `limit` in calls per second.

        With an interval of 1 / (limit x (1 - headroom)), any ``limit + 1`` calls span more than a second.
        """
        return cls(
            interval_us=math.ceil(1_000_000 / (limit * (1 - HEADROOM))),
            window=max(1, math.ceil(limit)),
            of_account=of_account,
        )
