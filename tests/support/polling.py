"""Waiting for another process or thread: a condition is polled until it holds or the time is over."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

#: Far beyond what anything takes on a busy machine, so that only what never comes fails.
TIMEOUT_S = 60.0
#: The same, for a client of a Redis that answers: a process that stands still for seconds is no error.
PATIENT = timedelta(seconds=TIMEOUT_S)


def eventually(
    look: Callable[[], T], what: str | Callable[[], str], timeout: float = TIMEOUT_S, *, interval: float = 0.01
) -> T:
    """Poll `look` and return its first true result; fail after `timeout` seconds with the expectation."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(interval)
    return seen
