"""Intake: takes jobs for Celery's consumer, whenever one may be due and the worker has room."""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from streamstop.lanes import BATCH, UNREACHABLE, Book, Schedule, Take
from streamstop.refusals import code_of
from streamstop_worker.pipeline.deliveries import Delivery, deliveries
from streamstop_worker.pipeline.slots import Slots

#: How long a worker that found nothing where it expected a job waits longer than it was told to, at first and at most.
#: Where several share the lanes, one of them serves a lane's next slots, and the others need not ask: who has no more
#: room wakes another, and the sweep wakes one where a lane is neglected.
_LOST_S = 0.005
_MOST_LOST_S = 1.0

_log = structlog.get_logger("streamstop")


class Intake:
    """Runs in Celery's thread."""

    def __init__(
        self,
        schedule: Schedule,
        slots: Slots,
        *,
        book: Callable[[], Book],
        lease: timedelta,
        on_ended: Callable[[Take], None],
    ) -> None:
        """`on_ended` is given what was found ended, and the lanes that this worker cannot serve."""
        self._schedule = schedule
        self._slots = slots
        self._book = book
        self._lease = lease
        self._on_ended = on_ended
        self._lost_s = 0.0
        self._tags = itertools.count()
        #: Jobs that Celery's consumer was given, by their delivery tag, until it makes requests of them.
        self.delivered: dict[str, Delivery] = {}
        self._deliver: Callable[[Mapping[str, Any], str], None] | None = None
        self._hub: Any = None
        self._timer: Any = None
        #: When a lane is due, by the monotonic clock in s.
        self._due_at = 0.0

    def connect(self, deliver: Callable[[Mapping[str, Any], str], None], hub: Any) -> None:
        """Deliver to a consumer that has just connected."""
        self._deliver, self._hub = deliver, hub
        self.delivered.clear()

    def on_wake(self) -> None:
        """Take: a producer has put jobs into lanes, or another worker leaves some."""
        self._lost_s = 0.0
        self._look(arrivals=True)

    def on_room(self) -> None:
        """Take, if jobs are due for which there was no room."""
        if self._deliver is not None and self._slots.room > 0 and time.monotonic() >= self._due_at:
            self._look(arrivals=False)

    def due_in(self, wait: timedelta) -> None:
        """Take when `wait` is over, or earlier if that was planned."""
        at = time.monotonic() + wait.total_seconds()
        if at < self._due_at:
            self._lost_s = 0.0
            self._plan(at)

    def _look(self, *, arrivals: bool) -> None:
        room, deliver = self._slots.room, self._deliver
        if room <= 0 or deliver is None:
            self._due_at = 0.0  # on_room looks as soon as there is some
            return
        asked_at = time.monotonic()
        try:
            take = self._schedule.take(
                room, lease=self._lease, book=self._book(), arrivals=arrivals, full=room <= BATCH
            )
        except UNREACHABLE as error:
            if code_of(error) is None:
                raise
            _log.warning("Redis gives no jobs", error=type(error).__name__)
            self._plan(time.monotonic() + 1)
            return
        taken_at = time.monotonic()
        for lane, failure in take.broken.items():
            _log.error("Redis fails over a lane's keys; it is tried again in a second", lane=lane.name, error=failure)
        for delivery in deliveries(take, asked_at=asked_at, taken_at=taken_at):
            self._slots.take()
            tag = str(next(self._tags))
            self.delivered[tag] = delivery
            deliver({}, tag)
        if take.ended or take.strangers:
            self._on_ended(take)
        if take.jobs:
            self._lost_s = 0.0
        elif not arrivals:
            self._lost_s = min(max(2 * self._lost_s, _LOST_S), _MOST_LOST_S)
        if take.next_in is None:
            self._due_at = math.inf
        else:
            self._plan(taken_at + take.next_in.total_seconds() + self._lost_s)

    def _plan(self, at: float) -> None:
        """Look again at a moment, by the monotonic clock in s."""
        self._due_at = at
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._hub.call_later(max(0.0, at - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._look(arrivals=False)
