"""The vendors' rate limits: a sliding window for each account and operation.

A call passes if fewer than `limit` calls **passed** in the second before it. A call over the limit is rejected and does
not count. To judge the caller, the window also records the most calls that *arrived* in any second.
"""

from bisect import bisect_left, bisect_right, insort


class SlidingWindow:
    """The limit of one lane (account and operation). Times are seconds of a monotonic clock.

    A limit below one call per second allows one call in a longer window. The window excludes its start: two calls
    exactly one second apart are never in the same window.
    """

    def __init__(self, limit: float) -> None:
        self._passed: list[float] = []
        self._arrived: list[float] = []
        self.most_in_a_second = 0
        self.limit = limit

    @property
    def limit(self) -> float:
        """Calls per second."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        self._span = max(1.0, 1.0 / limit)
        self._capacity = max(1, int(limit * self._span + 1e-9))

    def arrive(self, at: float) -> bool:
        """Count a call that arrived at `at`, and return whether it passes."""
        self._count_arrival(at)
        passed = self._passed
        if bisect_right(passed, at) - bisect_right(passed, at - self._span) >= self._capacity:
            return False
        insort(passed, at)
        _delete_old(passed, at - 2 * self._span, more_than=4 * self._capacity)
        return True

    def _count_arrival(self, at: float) -> None:
        arrived = self._arrived
        insort(arrived, at)
        # A call with a slow body is counted late, so windows that end after its arrival are counted again.
        for end in range(bisect_left(arrived, at), len(arrived)):
            if arrived[end] >= at + 1.0:
                break
            self.most_in_a_second = max(self.most_in_a_second, end + 1 - bisect_right(arrived, arrived[end] - 1.0))
        _delete_old(arrived, at - 10.0, more_than=4096)


def _delete_old(times: list[float], before: float, *, more_than: int) -> None:
    if len(times) > more_than:
        del times[: bisect_left(times, before)]
