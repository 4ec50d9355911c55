"""The app of the tortured workers: ``celery -A tests.torture.worker worker``.

It is the real app, with additions. The process notes its takes, calls and reports in a file. Its scripts use the
shifted clock, and its own wall clock can be wrong. It kills itself at a kill point that is armed: if it finds the
point's trigger file, it deletes the file and dies.
"""

import contextvars
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from redis import Redis

from streamstop._redis.batches import Batches
from streamstop._redis.rooms import Rooms
from streamstop._redis.schedule import WAITS_FOR_KEY, Schedule
from streamstop._wire.reports import Ended, Report, Retried
from streamstop_worker.app import app
from streamstop_worker.pipeline import execute, steps
from streamstop_worker.pipeline.execute import Executor
from streamstop_worker.shutdowns import fan_out as shutdowns
from streamstop_worker.transport import Transport, TransportFault
from tests.torture.clock import register_script

__all__ = ["app"]

_TRIGGERS = Path(os.environ["TORTURE_TRIGGERS"])
_NOTES = os.open(os.environ["TORTURE_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_CLOCK_ERROR = timedelta(seconds=float(os.environ["TORTURE_CLOCK_ERROR"]))
#: By the owner of a take: the moments before and after the take.
_takes: dict[str, dict[str, float]] = {}
#: The job that a coroutine runs: its id, and the moments before and after its take.
_of_job: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("of_job", default=None)


def _note(what: str, **details: Any) -> None:
    """Write a line that survives a SIGKILL. Times are seconds since the epoch, by the real clock."""
    line = json.dumps({"what": what, "at": time.time(), **details})
    os.write(_NOTES, line.encode() + b"\n")


def _come_to(point: str) -> None:
    """Die here if this process is the first to reach the point since it was armed."""
    try:
        (_TRIGGERS / point).unlink()
    except FileNotFoundError:
        return
    _note("dies", point=point)
    os.kill(os.getpid(), signal.SIGKILL)


_take, _report, _sweep = Schedule.take, Schedule.report, Schedule.sweep
_execute, _send = Executor.execute, Transport.send
_push, _spread = Rooms.push, Batches.spread


def take(self: Schedule, most: int, **how: Any) -> Any:
    _come_to("before-take")
    begun = time.time()
    taken = _take(self, most, **how)
    if taken.jobs:
        _takes[taken.jobs[0].owner] = {"begun": begun, "taken": time.time()}
        _come_to("after-take")
    return taken


async def execute_job(self: Executor, delivery: Any, on_call: Any) -> Any:
    _of_job.set({"job": delivery.taken.job_id, **_takes.get(delivery.taken.owner, {"begun": 0.0})})
    return await _execute(self, delivery, on_call)


async def send(self: Transport, request: Any) -> Any:
    of_job = _of_job.get() or {"job": "", "begun": 0.0}
    job = of_job["job"]
    _come_to("before-call")
    _note("calls", **of_job)
    try:
        response = await _send(self, request)
    except TransportFault as fault:
        _note("called", job=job, fault=fault.answer.code, sent=_moment_of(fault.sent_at))
        raise
    _note("called", job=job, request_id=_request_id(response.body), sent=_moment_of(response.sent_at))
    _come_to("after-answer")
    return response


def _moment_of(monotonic_s: float | None) -> float | None:
    return None if monotonic_s is None else time.time() - (time.monotonic() - monotonic_s)


def _request_id(body: bytes) -> str | None:
    """Return the vendor's request id; None if the answer has none."""
    with suppress(ValueError, AttributeError):
        answer = json.loads(body)
        found = answer.get("RequestId") or answer.get("Response", {}).get("RequestId")
        return None if found is None else str(found)
    return None


def report(self: Schedule, reports: Sequence[Report], **how: Any) -> Any:
    ends = any(isinstance(one, Ended) for one in reports)
    if ends:
        _come_to("before-report")
    if any(isinstance(one, Retried) for one in reports):
        _come_to("before-retry")
    reported = _report(self, reports, **how)
    for one, rest in zip(reports, reported.rests, strict=True):
        if isinstance(one, Ended):
            _note("finished", job=one.job.job_id, recorded=rest not in {None, WAITS_FOR_KEY})
    if ends:
        _come_to("after-report")
    return reported


def push(self: Rooms, shutdown: str, entries: Any, **how: Any) -> bool:
    _come_to("before-push")
    put = _push(self, shutdown, entries, **how)
    _come_to("after-push")
    return put


def spread(self: Batches, batch: str) -> int:
    _come_to("before-spread")
    left = _spread(self, batch)
    _come_to("after-spread")
    return left


def sweep(self: Schedule, **how: Any) -> Any:
    _come_to("before-sweep")
    swept = _sweep(self, **how)
    if swept is not None:
        _come_to("after-sweep")
    return swept


class _WrongClock(datetime):
    """The wall clock of this process."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + _CLOCK_ERROR


def _wrap(owner: Any, **replacements: Any) -> None:
    for name, replacement in replacements.items():
        setattr(owner, name, replacement)


_wrap(Schedule, take=take, report=report, sweep=sweep)
_wrap(Executor, execute=execute_job)
_wrap(Transport, send=send)
_wrap(Rooms, push=push)
_wrap(Batches, spread=spread)
_wrap(Redis, register_script=register_script)
for _module in (execute, steps, shutdowns):
    _wrap(_module, datetime=_WrongClock)
