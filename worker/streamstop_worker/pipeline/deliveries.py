"""Deliveries: reads the headers and the argument of a taken job's message.

Celery and kombu receive only these, so no message can raise an error inside them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamstop._core.commands import TASK
from streamstop._core.lane_types import Take, Taken
from streamstop._wire.messages import read_payload

#: Headers of Celery that lanes do not support, with the values that request nothing.
_NOT_SUPPORTED: Mapping[str, tuple[object, ...]] = {
    "compression": (None,),
    "eta": (None,),
    "expires": (None,),
    "timelimit": (None, [None, None]),
    "stamped_headers": (None, []),
}


@dataclass(frozen=True)
class Delivery:
    """A job that a worker has taken, with its message as read."""

    taken: Taken
    #: Redis' clock at the take, and the monotonic clock (s) right before and right after the take's round trip.
    at: datetime
    asked_at: float
    taken_at: float
    #: The time from `taken_at` to the job's slot, in s; 0 for a job without a slot.
    wait_s: float
    #: The message's headers; empty if it has none.
    headers: Mapping[str, Any]
    #: The argument of the task: a command's JSON data.
    argument: object = None
    #: Why no worker can run the message; None if one can.
    problem: str | None = None

    def now(self) -> datetime:
        """Return the time by Redis' clock: its time at the take, plus the monotonic time since."""
        return datetime.fromtimestamp(self.at.timestamp() + time.monotonic() - self.taken_at, self.at.tzinfo)


def deliveries(take: Take, *, asked_at: float, taken_at: float) -> list[Delivery]:
    """Return a delivery for each job of `take`."""
    read = []
    for taken in take.jobs:
        wait_s = max(0.0, (taken.slot_us - take.now_us) / 1_000_000) if taken.slot_us else 0.0
        headers, argument, problem = _read(taken.message)
        read.append(Delivery(taken, take.now, asked_at, taken_at, wait_s, headers, argument, problem))
    return read


def _read(message: bytes) -> tuple[Mapping[str, Any], object, str | None]:  # noqa: PLR0911  # a return a problem
    """Return a message's headers and argument, and why no worker can run it."""
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        return {}, None, f"it cannot be decoded ({type(error).__name__})"
    headers = fields.get("headers") if isinstance(fields, dict) else None
    if not isinstance(headers, dict) or headers.get("task") != TASK:
        return {}, None, "its headers do not name the task and a job's id"
    for name, allowed in _NOT_SUPPORTED.items():
        if headers.get(name) not in allowed:
            return (
                headers,
                None,
                f"its header {name} is not served"
                + ("; a command says itself when it expires, as expires_at" if name in {"eta", "expires"} else ""),
            )
    if fields.get("content-type") != "application/json":
        return headers, None, "its content type is not application/json"
    try:
        payload = read_payload(fields)
    except (ValueError, TypeError, RecursionError) as error:
        return headers, None, f"its body cannot be decoded ({type(error).__name__})"
    match payload:
        case [list() as args, dict() as kwargs, dict() | None]:
            return headers, args[0] if args else kwargs.get("command"), None
        case _:
            return headers, None, "its body is not a list of arguments, keyword arguments and options"


def read_argument(message: bytes) -> object:
    """Return the argument that a message gives its task; None if it cannot be read."""
    return _read(message)[1]
