"""The app of the tortured workers: ``celery -A tests.torture.worker worker``.

It is the real app. Around it, this process notes its claims, calls and records in a file, lets the scripts live by the
shifted clock, lets its own wall clock be off, and kills itself where it is told to: at a point whose trigger file it
finds, and takes away, in the folder of triggers.
"""

import json
import os
import signal
import threading
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from redis import Redis

from streamstop.lanes import Claimed, Lanes
from streamstop.rooms import Rooms
from streamstop_worker import control, execute, shutdowns
from streamstop_worker.app import app
from streamstop_worker.transport import Transport, TransportFault
from tests.torture.clock import register_script

__all__ = ["app"]

_TRIGGERS = Path(os.environ["TORTURE_TRIGGERS"])
_NOTES = os.open(os.environ["TORTURE_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_CLOCK_ERROR = timedelta(seconds=float(os.environ["TORTURE_CLOCK_ERROR"]))
#: The job that a thread works at, and the moments before and after its last claim.
_of_thread = threading.local()


def _note(what: str, **details: Any) -> None:
    """Write a line that a SIGKILL does not take back. Times are real ones, in seconds since the epoch."""
    line = json.dumps({"what": what, "at": time.time(), **details})
    os.write(_NOTES, line.encode() + b"\n")


def _come_to(point: str) -> None:
    """Die here, if this process is the first to come to the point since it was armed."""
    try:
        (_TRIGGERS / point).unlink()
    except FileNotFoundError:
        return
    _note("dies", point=point)
    os.kill(os.getpid(), signal.SIGKILL)


_claim, _finish, _defer, _sweep = Lanes.claim, Lanes.finish, Lanes.defer, Lanes.sweep
_send, _push = Transport.send, Rooms.push


def claim(self: Lanes, lane: Any, pace: Any, job_id: str, **how: Any) -> Any:
    _come_to("before-claim")
    begun = time.time()
    claimed = _claim(self, lane, pace, job_id, **how)
    if claimed.what is Claimed.GO:
        _of_thread.job = job_id
        _of_thread.claim = {"begun": begun, "claimed": time.time(), "wait": claimed.wait.total_seconds()}
    return claimed


def send(self: Transport, request: Any) -> Any:
    _come_to("before-call")
    job = getattr(_of_thread, "job", "")
    _note("calls", job=job, **getattr(_of_thread, "claim", {"begun": 0.0}))
    try:
        response = _send(self, request)
    except TransportFault as fault:
        _note("called", job=job, fault=fault.answer.code)
        raise
    _note("called", job=job)
    _come_to("after-answer")
    return response


def finish(self: Lanes, lane: Any, pace: Any, job_id: str, **how: Any) -> bool:
    recorded = _finish(self, lane, pace, job_id, **how)
    _note("finished", job=job_id, recorded=recorded)
    _come_to("after-record")
    return recorded


def defer(self: Lanes, lane: Any, pace: Any, job_id: str, **how: Any) -> Any:
    _come_to("before-defer")
    return _defer(self, lane, pace, job_id, **how)


def push(self: Rooms, shutdown: str, entries: Any) -> bool:
    _come_to("before-push")
    put = _push(self, shutdown, entries)
    _come_to("after-push")
    return put


def sweep(self: Lanes, lane: Any, pace: Any, *more: Any, **how: Any) -> Any:
    _come_to("before-sweep")
    swept = _sweep(self, lane, pace, *more, **how)
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


_wrap(Lanes, claim=claim, finish=finish, defer=defer, sweep=sweep)
_wrap(Transport, send=send)
_wrap(Rooms, push=push)
_wrap(Redis, register_script=register_script)
for _module in (execute, control, shutdowns):
    _wrap(_module, datetime=_WrongClock)
