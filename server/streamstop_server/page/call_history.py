"""Call history: the calls and throttled calls of each lane within the last five minutes, in steps of five seconds.

It is made of the counters that lanes have, each time that they are read. A lane without calls costs nothing.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from streamstop import Lane, LaneView

#: The length of a step, in seconds, and how many there are.
STEP_S = 5
STEPS = 60
#: Over how many seconds the calls per second of now are counted.
_NOW_S = 10.0


@dataclass(frozen=True)
class Step:
    """What a lane did within five seconds from `at` on."""

    at: datetime
    calls: float
    throttled: float

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / STEP_S


@dataclass
class _Counted:
    """What is known of a lane: counts by step, and the counters of the last reads."""

    steps: dict[int, tuple[float, float]] = field(default_factory=dict)
    reads: deque[tuple[float, int, int]] = field(default_factory=deque)


class CallHistory:
    """The history of all lanes."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, _Counted] = {}
        self._last: float | None = None
        #: By Redis' clock, and how far that is ahead of ours.
        self._now = self._ahead = 0.0

    def add(self, views: Sequence[LaneView], clock: float) -> None:
        """Count what the lanes did since the last read. `clock` is this machine's, in seconds since the epoch."""
        if views:
            self._ahead = views[-1].at.timestamp() - clock
        self._now = clock + self._ahead
        for view in views:
            at = view.at.timestamp()
            counted = self._lanes.get(view.lane)
            if counted is None:
                counted = self._lanes[view.lane] = _Counted()
                before = self._before_first(view, at)
            else:
                before = counted.reads[-1]
            self._count(counted, before, (at, view.calls, view.throttled))
        self._last = self._now
        oldest = self._now - STEPS * STEP_S
        for lane in [lane for lane, counted in self._lanes.items() if counted.reads[-1][0] < oldest]:
            del self._lanes[lane]

    def rate(self, lane: Lane) -> float:
        """Return the calls per second of a lane now."""
        counted = self._lanes.get(lane)
        if counted is None or len(counted.reads) < 2:
            return 0.0
        (first, calls, _), (last, calls_now, _) = counted.reads[0], counted.reads[-1]
        return max(0, calls_now - calls) / max(last - first, 1.0) if self._now - last < _NOW_S else 0.0

    def throttled(self, lane: Lane) -> int:
        """Return how many calls of a lane were throttled within five minutes."""
        counted, first = self._lanes.get(lane), int(self._now // STEP_S) - STEPS
        return 0 if counted is None else round(sum(step[1] for at, step in counted.steps.items() if at > first))

    def steps(self, lane: Lane) -> Sequence[Step]:
        """Return the steps of a lane, oldest first; the last one is not over yet."""
        counted, last = self._lanes.get(lane), int(self._now // STEP_S)
        known = {} if counted is None else counted.steps
        return [
            Step(datetime.fromtimestamp(number * STEP_S, UTC), *known.get(number, (0.0, 0.0)))
            for number in range(last - STEPS + 1, last + 1)
        ]

    def _before_first(self, view: LaneView, at: float) -> tuple[float, int, int]:
        """Return what to compare a lane's first read with: 0 if all its calls may have come since the last read."""
        if self._last is None or view.limit is None or view.calls > view.limit * (at - self._last + 1):
            return at, view.calls, view.throttled
        return self._last, 0, 0

    @staticmethod
    def _count(counted: _Counted, before: tuple[float, int, int], now: tuple[float, int, int]) -> None:
        calls, throttled = (max(0, new - old) for new, old in zip(now[1:], before[1:], strict=True))
        last = int(now[0] // STEP_S)
        if calls or throttled:
            for number, share in _shares(before[0], now[0]):
                old = counted.steps.get(number, (0.0, 0.0))
                counted.steps[number] = (old[0] + calls * share, old[1] + throttled * share)
        for number in [number for number in counted.steps if number <= last - STEPS]:
            del counted.steps[number]
        if not counted.reads:
            counted.reads.append(before)
        counted.reads.append(now)
        while len(counted.reads) > 2 and counted.reads[1][0] <= now[0] - _NOW_S:
            counted.reads.popleft()


def _shares(since: float, until: float) -> Iterator[tuple[int, float]]:
    """Yield the latest steps between two moments, and the share of the time between the moments that each has.

    Without the shares, a read a little late would put the calls of six seconds into one step, above the limit.
    """
    last = int(until // STEP_S)
    if until <= since:
        yield last, 1.0
        return
    for number in range(max(int(since // STEP_S), last - STEPS + 1), last + 1):
        covered = min(until, (number + 1) * STEP_S) - max(since, number * STEP_S)
        if covered > 0:
            yield number, covered / (until - since)
