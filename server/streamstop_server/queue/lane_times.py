"""Lane times: how long lanes will need for what they hold, as clients are told when to ask for their jobs."""

import time
from collections.abc import Collection
from itertools import islice

from fastapi import Request

from streamstop import AsyncClient, Lane, StreamstopError

#: What clients are told at least and at most, in seconds; the most also where it is unknown, as in a paused lane.
SHORTEST_S, LONGEST_S = 1, 600
#: How long a lane's time is used without a look, and how many lanes are known.
_KEPT_S = 1.0
_MOST_KNOWN = 10_000
#: How many lanes of one request are looked at.
_MOST_LANES = 20


class LaneTimes:
    """The times of the lanes that requests of this process have used within a second."""

    def __init__(self) -> None:
        self._known: dict[Lane, tuple[float, float | None]] = {}

    async def seconds(self, queue: AsyncClient, lanes: Collection[Lane]) -> int:
        """Return the seconds until the slowest of `lanes` is probably empty."""
        now, some = time.monotonic(), list(islice(lanes, _MOST_LANES))
        stale = [lane for lane in some if lane not in self._known or now - self._known[lane][0] > _KEPT_S]
        if stale:
            try:
                views = await queue.lanes(stale)
            except StreamstopError:  # the commands are enqueued all the same
                return SHORTEST_S
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known.update({view.lane: (now, view.seconds_left) for view in views})
        times = [self._known[lane][1] for lane in some if lane in self._known]
        longest = max((LONGEST_S if left is None else left for left in times), default=SHORTEST_S)
        return int(min(LONGEST_S, max(SHORTEST_S, longest)))


def lane_times_of(request: Request) -> LaneTimes:
    """Return the application's lane times."""
    found: LaneTimes = request.app.state.lane_times
    return found
