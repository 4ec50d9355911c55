"""The two clocks of the simulator. Code receives them as an argument, so that tests can set the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Epoch time for the timestamps of calls, monotonic time for limits and tasks. Both are in seconds."""

    epoch: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
