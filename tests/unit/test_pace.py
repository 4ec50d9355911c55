"""Pace: no second holds more calls than the limit, whatever the limit."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop._core.pace import HEADROOM, Pace

LIMITS = st.integers(1, 10_000) | st.floats(0.001, 10_000, allow_nan=False)


@pytest.mark.parametrize(
    ("limit", "window"),
    [
        (0.1, 1),
        (1, 1),
        (1.5, 2),
        (10, 10),
        (15, 15),
        (30, 30),
    ],
)
def test_the_window_is_one_seconds_worth_of_the_limit_and_never_nothing(limit: float, window: int) -> None:
    assert Pace.of_limit(limit).window == window


@pytest.mark.parametrize(
    ("limit", "at_least_us"),
    [
        (10, 100_000),
        (1, 1_000_000),
        (2.5, 400_000),
        (0.5, 2_000_000),
    ],
)
def test_the_interval_is_the_limits_and_the_headroom_beside(limit: float, at_least_us: int) -> None:
    assert Pace.of_limit(limit).interval_us == pytest.approx(at_least_us / (1 - HEADROOM), abs=1)


@given(st.integers(1, 10_000))
def test_any_calls_over_the_limit_span_more_than_a_second(limit: int) -> None:
    # limit + 1 calls have `limit` intervals between the first and the last.
    assert limit * Pace.of_limit(limit).interval_us > 1_000_000


@given(LIMITS, st.integers(1, 1000))
def test_no_span_of_time_holds_more_calls_than_the_limit_gives_it(limit: float, intervals: int) -> None:
    # For a limit of 1.5, any 2 seconds hold at most 3 calls, though some single seconds hold 2.
    span_s = Fraction(intervals * Pace.of_limit(limit).interval_us, 1_000_000)
    assert intervals < span_s * Fraction(limit)


@given(LIMITS)
def test_the_headroom_costs_no_more_than_it_says(limit: float) -> None:
    per_second = 1_000_000 / Pace.of_limit(limit).interval_us
    rounding = per_second / 1_000_000  # the interval is whole microseconds
    assert per_second >= limit * (1 - HEADROOM) * (1 - rounding)
