"""Durations, as callers give them, a number of seconds or a timedelta, and as people read them."""

import math
from datetime import timedelta

from streamstop.errors import InvalidCommand, InvalidSettings, quoted


def duration_text(duration: float | timedelta) -> str:
    """Return a duration (seconds, or a timedelta) for people, in the largest unit of which there are two.

    ``45 s``, ``90 min``, ``5 d``. Seconds are rounded up, so that a wait is never shown as over; larger units are
    rounded to the nearest.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(0, math.ceil(seconds))} s"


def positive_duration(
    value: object, name: str, longest: timedelta, error: type[InvalidCommand | InvalidSettings] = InvalidCommand
) -> timedelta:
    """Return `value`, the argument `name`, as a timedelta; raise `error` unless it is positive and not too long."""
    duration = _as_timedelta(value)
    if duration is None or not timedelta(0) < duration <= longest:
        most = "1 day" if longest.days == 1 else f"{longest.days} days"
        given = str(value) if isinstance(value, timedelta) else quoted(value)
        message = f"{name} must be a positive number of seconds or timedelta of at most {most}, not {given}"
        raise InvalidCommand(message, field=name) if error is InvalidCommand else error(message)
    return duration


def wait_duration(timeout: object, name: str = "timeout") -> timedelta | None:
    """Return the `timeout` of a wait as a timedelta, which is over at once if negative; None waits for ever.

    `name` is that of the argument.

    Raises :class:`~streamstop.errors.InvalidCommand`. A number beyond any timedelta, such as infinity, waits for ever.
    """
    if timeout is None:
        return None
    duration = _as_timedelta(timeout)
    if duration is not None:
        return duration
    if isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0:
        return None
    raise InvalidCommand(f"{name} must be a number of seconds, a timedelta or None, not {quoted(timeout)}", field=name)


def _as_timedelta(value: object) -> timedelta | None:
    """Return `value` as a timedelta; None where it is neither that nor a number of seconds that one can hold."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return timedelta(seconds=value)
    except (ValueError, OverflowError):  # not a number; infinite
        return None
