"""Durations, as screens show them."""

from datetime import timedelta

import pytest

from streamstop_server.page.shell import took


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.2, "0 s"),
        (0, "0 s"),
        (0.018, "0.018 s"),
        (1.2344, "1.234 s"),
        (58, "58 s"),
        (58.2, "59 s"),
        (600, "10 min"),
    ],
)
def test_a_measured_duration_shows_less_than_a_second(seconds: float, text: str) -> None:
    assert took(seconds) == took(timedelta(seconds=seconds)) == text
