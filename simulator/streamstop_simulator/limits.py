"""The vendors' rate limits: per account and operation, over a window that slides with every call.

A call passes while fewer than `limit` calls **passed** in the second before it; a call over the limit is dropped and
takes no place. Beside that stands what the caller is to be judged by: the most calls that *arrived* in any second.
"""

from bisect import bisect_left, bisect_right, insort


class SlidingWindow:
    """The limit of one lane (account and operation). Times are seconds of a monotonic clock.

    A limit below one call a second is a window of more than a second for one call. The window is open at its start:
    of two calls exactly a second apart, each has a window of its own.
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
        self._places = max(1, int(limit * self._span + 1e-9))

    def arrive(self, at: float) -> bool:
        """Count a call that arrived at `at`, and return whether it passes."""
        self._count(at)
        passed = self._passed
        if bisect_right(passed, at) - bisect_right(passed, at - self._span) >= self._places:
            return False
        insort(passed, at)
        _forget(passed, at - 2 * self._span, more_than=4 * self._places)
        return True

    def _count(self, at: float) -> None:
        arrived = self._arrived
        insort(arrived, at)
        # A call whose body was slow is counted late, so windows that end after it are looked at again.
        for end in range(bisect_left(arrived, at), len(arrived)):
            if arrived[end] >= at + 1.0:
                break
            self.most_in_a_second = max(self.most_in_a_second, end + 1 - bisect_right(arrived, arrived[end] - 1.0))
        _forget(arrived, at - 10.0, more_than=4096)


def _forget(times: list[float], before: float, *, more_than: int) -> None:
    if len(times) > more_than:
        del times[: bisect_left(times, before)]
