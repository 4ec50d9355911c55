"""Durations: seconds and timedeltas are the same, and anything else is a mistake that names the argument."""

import dataclasses
import math
from collections.abc import Callable
from datetime import timedelta

import pytest

from streamstop import AsyncClient, Client, Command, InvalidCommand, InvalidSettings
from streamstop._core.durations import duration_text, wait_duration
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient

STOP = StopMPUTask(app_id="a", task_id="t")
BAD: list[object] = [True, False, "2", math.nan, b"2", object(), [2]]


@pytest.mark.parametrize("timeout", [2, 2.0, timedelta(seconds=2)])
def test_a_clients_timeout_is_in_seconds_or_a_timedelta(timeout: float | timedelta) -> None:
    assert Client(timeout=timeout).timeout == timedelta(seconds=2)
    assert AsyncClient(timeout=timeout).client.timeout == timedelta(seconds=2)


@pytest.mark.parametrize("timeout", [*BAD, 0, -1.5, math.inf, 1e9, timedelta(0), timedelta(days=2)])
@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_another_timeout_of_a_client_is_a_mistake(make: Callable[..., object], timeout: object) -> None:
    with pytest.raises(
        InvalidSettings, match=r"^timeout must be a positive number of seconds or timedelta of at most 1"
    ):
        make(timeout=timeout)


@pytest.mark.parametrize("expires_in", [300, 300.0, timedelta(minutes=5)])
def test_an_expiry_is_in_seconds_or_a_timedelta(expires_in: float | timedelta) -> None:
    command = Command(operation=STOP, account="a", expires_in=expires_in)
    assert command.expires_in == timedelta(minutes=5)
    client = RecordingClient()
    client.enqueue(STOP, account="a", expires_in=expires_in)
    assert client.enqueued == [command]
    assert dataclasses.replace(command, priority=3).expires_in == command.expires_in


@pytest.mark.parametrize("expires_in", [*BAD, 0, -1, math.inf, 1e12, timedelta(0), timedelta(days=3651)])
def test_another_expiry_is_a_mistake(expires_in: object) -> None:
    with pytest.raises(
        InvalidCommand, match=r"^expires_in must be a positive number of seconds or timedelta"
    ) as raised:
        RecordingClient().enqueue(STOP, account="a", expires_in=expires_in)  # type: ignore[arg-type]
    assert raised.value.field == "expires_in"


@pytest.mark.parametrize(
    ("timeout", "limit"),
    [
        (None, None),
        (math.inf, None),
        (1e300, None),
        (10**400, None),
        (0, timedelta(0)),
        (-3, timedelta(seconds=-3)),
        (2.5, timedelta(seconds=2.5)),
        (timedelta(days=1), timedelta(days=1)),
    ],
)
def test_a_wait_is_in_seconds_or_a_timedelta_or_for_ever(timeout: object, limit: timedelta | None) -> None:
    assert wait_duration(timeout) == limit


@pytest.mark.parametrize("timeout", [*BAD, -math.inf])
@pytest.mark.parametrize("wait", ["outcome", "outcomes", "shutdown"])
def test_another_timeout_of_a_wait_is_a_mistake(wait: str, timeout: object) -> None:
    client = RecordingClient()
    job = client.enqueue(STOP, account="a")
    calls: dict[str, Callable[..., object]] = {
        "outcome": job.outcome,
        "outcomes": lambda timeout: list(client.outcomes([job], timeout)),
        "shutdown": client.stop_room("r").wait,
    }
    with pytest.raises(InvalidCommand, match=r"^timeout must be a number of seconds, a timedelta or None") as raised:
        calls[wait](timeout)
    assert raised.value.field == "timeout"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.2, "1 s"),
        (119, "119 s"),
        (124, "2 min"),
        (151, "3 min"),
        (7100, "118 min"),
        (7300, "2 h"),
        (timedelta(hours=60), "2 d"),
        (timedelta(hours=61), "3 d"),
    ],
)
def test_people_read_the_nearest_of_a_unit_and_seconds_that_are_never_too_few(
    seconds: float | timedelta, text: str
) -> None:
    assert duration_text(seconds) == text
