"""The two clocks of the simulator; whoever needs the time is given this, so that tests can turn it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Epoch time for what vendors compare with timestamps, monotonic time for limits and tasks. Both in seconds."""

    epoch: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
