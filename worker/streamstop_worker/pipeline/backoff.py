"""When a job that met a transient fault may try again: exponential backoff with full jitter. Pure: chance is given.

Full jitter spreads the jobs that failed together over the whole delay, so they do not come back together.
Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Backoff:
    """A ceiling that doubles from `base` up to `cap`, and below it a delay by chance."""

    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(seconds=60)
    #: Calls that a job may make in all, the first included.
    attempts: int = 8

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta | None:
        """Return how long a job waits whose call number `attempt`, counted from 1, has failed; None: give up.

        `random` returns a number from 0 to below 1, such as :func:`random.random`.
        """
        if attempt >= self.attempts:
            return None
        # 2**1000 is a float still; the cap is reached long before.
        ceiling = min(self.cap.total_seconds(), self.base.total_seconds() * 2.0 ** min(max(attempt - 1, 0), 1000))
        return timedelta(seconds=random() * ceiling)
