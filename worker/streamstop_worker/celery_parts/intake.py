"""Intake: takes jobs for Celery's consumer, whenever one may be due and the worker has room."""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

import structlog

from streamstop._core.lane_types import Take
from streamstop._redis.errors import error_code, reason
from streamstop._redis.schedule import BATCH, Book, Schedule
from streamstop_worker.pipeline.bugs import tell_broken
from streamstop_worker.pipeline.deliveries import Delivery, deliveries
from streamstop_worker.pipeline.slots import Slots

#: How soon a worker looks again where Redis gave no answer, in s.
_AGAIN_S = 1.0
#: How long a worker that found nothing where it expected a job waits longer than it was told to, at first and at most.
#: Where several share the lanes, one of them serves a lane's next slots, and the others need not ask: who has no more
#: room wakes another, and the sweep wakes one where a lane is neglected.
_LOST_S = 0.005
_MOST_LOST_S = 1.0

_log = structlog.get_logger("streamstop")


class Channel(Protocol):
    """What Celery's consumer is delivered to through."""

    @property
    def is_consuming(self) -> bool:
        """Whether there is a consumer."""

    def deliver(self, headers: Mapping[str, Any], tag: str) -> None:
        """Give it a message."""


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
        on_unseen: Callable[[Delivery], None],
    ) -> None:
        """`on_ended` is given what was found ended, and the lanes that this worker cannot serve.

        `on_unseen` is given each job that could not be told to Celery: it is taken all the same.
        """
        self._schedule = schedule
        self._slots = slots
        self._book = book
        self._lease = lease
        self._on_ended = on_ended
        self._on_unseen = on_unseen
        self._lost_s = 0.0
        #: Whether producers may have put jobs into lanes since the last look. Kept while there is no room to look.
        self._may_be_new = True
        self._tags = itertools.count()
        #: Jobs that Celery's consumer was given, by their delivery tag, until it makes requests of them.
        self.delivered: dict[str, Delivery] = {}
        self._channel: Channel | None = None
        self._hub: Any = None
        self._timer: Any = None
        #: When a lane is due, by the monotonic clock in s.
        self._due_at = 0.0

    def connect(self, channel: Channel, hub: Any) -> None:
        """Deliver to a consumer that has just connected, and look what is due."""
        self._channel, self._hub = channel, hub
        self._plan(time.monotonic())

    def on_wake(self) -> None:
        """Take: a producer has put jobs into lanes, or another worker leaves some."""
        self._lost_s = 0.0
        self._may_be_new = True
        self._look()

    def on_room(self) -> None:
        """Take, if jobs are due for which there was no room."""
        if self._slots.room > 0 and time.monotonic() >= self._due_at:
            self._look()

    def due_in(self, wait: timedelta) -> None:
        """Take when `wait` is over, or earlier if that was planned."""
        at = time.monotonic() + wait.total_seconds()
        if at < self._due_at:
            self._lost_s = 0.0
            self._plan(at)

    def _look(self) -> None:
        room, channel = self._slots.room, self._channel
        if room <= 0 or channel is None or not channel.is_consuming:
            self._due_at = 0.0  # on_room looks as soon as there is some
            return
        try:
            at = self._take(room, channel)
        except Exception as error:
            self._plan(time.monotonic() + _AGAIN_S)  # whoever hears of the error, there is a next time
            if error_code(error) is None:
                raise  # Celery's consumer logs it, and connects anew
            _log.warning("Redis gives no jobs", reason=reason(error))
        else:
            if at is None:
                self._due_at = math.inf
            else:
                self._plan(at)

    def _take(self, room: int, channel: Channel) -> float | None:
        """Take up to `room` jobs; return when to look again, None: when somebody says so."""
        arrivals, asked_at = self._may_be_new, time.monotonic()
        take = self._schedule.take(room, lease=self._lease, book=self._book(), arrivals=arrivals, full=room <= BATCH)
        self._may_be_new = False
        taken_at = time.monotonic()
        tell_broken(_log, take.broken)
        for delivery in deliveries(take, asked_at=asked_at, taken_at=taken_at):
            self._slots.take()
            if not self._is_delivered(delivery, channel):
                self._on_unseen(delivery)
        if take.ended or take.unserved_lanes:
            self._on_ended(take)
        if take.jobs:
            self._lost_s = 0.0
        elif not arrivals:
            self._lost_s = min(max(2 * self._lost_s, _LOST_S), _MOST_LOST_S)
        return None if take.next_in is None else taken_at + take.next_in.total_seconds() + self._lost_s

    def _is_delivered(self, delivery: Delivery, channel: Channel) -> bool:
        """Give a job to Celery's consumer; whether it reached the pool."""
        tag = str(next(self._tags))
        self.delivered[tag] = delivery
        try:
            channel.deliver({}, tag)
        except Exception:  # noqa: BLE001  # what a foreign message says of itself, Celery may be unable to read
            _log.exception("Celery cannot be told of a job", job_id=delivery.taken.job_id)
            is_delivered = False
        else:
            is_delivered = tag not in self.delivered
        self.delivered.pop(tag, None)
        return is_delivered

    def _plan(self, at: float) -> None:
        """Look again at a moment, by the monotonic clock in s."""
        self._due_at = at
        if self._hub is None:
            return  # connect looks
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._hub.call_later(max(0.0, at - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._look()
