"""Backoff: how long a job waits after a transient fault: exponential, with full jitter. Pure: the caller gives chance.

Full jitter spreads the jobs that failed together over the whole delay, so they do not come back together.
Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Backoff:
    """A random delay below a ceiling, which doubles from `base` up to `cap` with each attempt."""

    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(seconds=60)
    #: How many calls a job may make, including the first.
    attempts: int = 8

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta | None:
        """Return how long a job waits after its call number `attempt`, counted from 1, has failed. None: give up.

        `random` returns a number from 0 to below 1, like :func:`random.random`.
        """
        if attempt >= self.attempts:
            return None
        # A float holds 2**1000 and little more; the cap is reached long before.
        ceiling = min(self.cap.total_seconds(), self.base.total_seconds() * 2.0 ** min(max(attempt - 1, 0), 1000))
        return timedelta(seconds=random() * ceiling)
