"""Backoff: full jitter below a ceiling that doubles."""

import random
from datetime import timedelta

import pytest

from streamstop_worker.pipeline.backoff import Backoff

ALMOST_ONE = 1 - 2**-53


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 8),
        (5, 16),
        (6, 32),
        (7, 60),  # 64, capped
    ],
)
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling: int) -> None:
    backoff = Backoff()
    assert backoff.delay(attempt, lambda: 0.0) == timedelta()
    assert backoff.delay(attempt, lambda: 0.5) == timedelta(seconds=ceiling / 2)
    assert backoff.delay(attempt, lambda: ALMOST_ONE) == timedelta(seconds=ceiling)


@pytest.mark.parametrize("attempt", [8, 9, 1_000_000])
def test_after_the_eighth_attempt_it_gives_up(attempt: int) -> None:
    assert Backoff().delay(attempt, random.random) is None


def test_base_cap_and_attempts_can_be_chosen() -> None:
    backoff = Backoff(base=timedelta(milliseconds=10), cap=timedelta(milliseconds=25), attempts=4)
    delays = [backoff.delay(attempt, lambda: ALMOST_ONE) for attempt in range(1, 5)]
    assert delays == [timedelta(milliseconds=ms) for ms in (10, 20, 25)] + [None]


def test_however_many_attempts_are_allowed_no_delay_overflows() -> None:
    assert Backoff(attempts=10**9).delay(10**8, lambda: ALMOST_ONE) == timedelta(seconds=60)


def test_one_attempt_means_no_second() -> None:
    assert Backoff(attempts=1).delay(1, random.random) is None
