"""Intake: takes jobs for Celery's consumer whenever one may be due and the worker has room."""

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
from streamstop_worker.pipeline.bugs import log_broken_lanes
from streamstop_worker.pipeline.deliveries import Delivery, deliveries
from streamstop_worker.pipeline.slots import Slots

#: How long a worker waits after a failed take, in s.
_RETRY_S = 1.0
#: How much longer than until the next slot a worker waits after it found no job, at first and at most. Among several
#: workers one then serves a lane's next slots, and the others do not ask in vain. A worker without room wakes another,
#: and the sweep wakes one if a lane is late.
_FIRST_EXTRA_S = 0.005
_MOST_EXTRA_S = 1.0

_log = structlog.get_logger("streamstop")


class Channel(Protocol):
    """Delivers messages to Celery's consumer."""

    @property
    def is_consuming(self) -> bool:
        """Whether a consumer is connected."""

    def deliver(self, headers: Mapping[str, Any], tag: str) -> None:
        """Deliver a message to the consumer."""


class Intake:
    """Takes jobs. It runs in Celery's thread."""

    def __init__(
        self,
        schedule: Schedule,
        slots: Slots,
        *,
        book: Callable[[], Book],
        lease: timedelta,
        on_ended_or_unserved: Callable[[Take], None],
        on_undelivered: Callable[[Delivery], None],
    ) -> None:
        """`on_ended_or_unserved` receives each take that found ended jobs, or lanes that this worker cannot serve.

        `on_undelivered` receives each job that was taken but could not be delivered to Celery's consumer.
        """
        self._schedule = schedule
        self._slots = slots
        self._book = book
        self._lease = lease
        self._on_ended_or_unserved = on_ended_or_unserved
        self._on_undelivered = on_undelivered
        self._extra_s = 0.0
        #: Whether producers may have put jobs into lanes since the last take.
        self._may_have_arrivals = True
        self._tags = itertools.count()
        #: Deliveries by tag, until Celery's consumer makes a request of each.
        self.delivered: dict[str, Delivery] = {}
        self._channel: Channel | None = None
        self._hub: Any = None
        self._timer: Any = None
        #: When the next lane is due, by the monotonic clock in s.
        self._due_at = 0.0
        #: When this worker last took jobs, or began to wait for a wake token, by the monotonic clock in s; None: never.
        self.looked_at: float | None = None

    def connect(self, channel: Channel, hub: Any) -> None:
        """Deliver to a consumer that has just connected, and take jobs at once."""
        self._channel, self._hub = channel, hub
        self._take_at(time.monotonic())

    def on_wait(self) -> None:
        """Note that the worker waits for a wake token. It repeats that every second while Redis answers."""
        self.looked_at = time.monotonic()

    def on_wake(self) -> None:
        """Take jobs: a producer has put some into lanes, or another worker has no room for more."""
        self._extra_s = 0.0
        self._may_have_arrivals = True
        self._take_if_room()

    def on_room(self) -> None:
        """Take jobs if some are due that the worker had no room for."""
        if self._slots.room > 0 and time.monotonic() >= self._due_at:
            self._take_if_room()

    def due_in(self, wait: timedelta) -> None:
        """Take jobs after `wait`, unless an earlier take is scheduled."""
        at = time.monotonic() + wait.total_seconds()
        if at < self._due_at:
            self._extra_s = 0.0
            self._take_at(at)

    def _take_if_room(self) -> None:
        room, channel = self._slots.room, self._channel
        if room <= 0 or channel is None or not channel.is_consuming:
            self._due_at = 0.0  # on_room takes as soon as there is room
            return
        try:
            at = self._take(room, channel)
        except Exception as error:
            self._take_at(time.monotonic() + _RETRY_S)
            if error_code(error) is None:
                raise  # Celery's consumer logs it and reconnects
            _log.warning("taking jobs failed and is retried in a second", reason=reason(error))
        else:
            if at is None:
                self._due_at = math.inf
            else:
                self._take_at(at)

    def _take(self, room: int, channel: Channel) -> float | None:
        """Take up to `room` jobs. Return when to take again; None: on the next wake token."""
        arrivals, asked_at = self._may_have_arrivals, time.monotonic()
        take = self._schedule.take(room, lease=self._lease, book=self._book(), arrivals=arrivals, full=room <= BATCH)
        self._may_have_arrivals = False
        taken_at = self.looked_at = time.monotonic()
        log_broken_lanes(_log, take.broken)
        for delivery in deliveries(take, asked_at=asked_at, taken_at=taken_at):
            self._slots.take()
            if not self._deliver(delivery, channel):
                self._on_undelivered(delivery)
        if take.ended or take.unserved_lanes:
            self._on_ended_or_unserved(take)
        if take.jobs:
            self._extra_s = 0.0
        elif not arrivals:
            self._extra_s = min(max(2 * self._extra_s, _FIRST_EXTRA_S), _MOST_EXTRA_S)
        return None if take.next_in is None else taken_at + take.next_in.total_seconds() + self._extra_s

    def _deliver(self, delivery: Delivery, channel: Channel) -> bool:
        """Deliver a job to Celery's consumer. Return whether the consumer made a request of it."""
        tag = str(next(self._tags))
        self.delivered[tag] = delivery
        try:
            channel.deliver({}, tag)
        except Exception:  # noqa: BLE001  # Celery may be unable to read the headers of a foreign message
            _log.exception("Celery cannot read a job; it runs without events", job_id=delivery.taken.job_id)
            is_delivered = False
        else:
            is_delivered = tag not in self.delivered
        self.delivered.pop(tag, None)
        return is_delivered

    def _take_at(self, at: float) -> None:
        """Schedule the next take for the moment `at`, by the monotonic clock in s."""
        self._due_at = at
        if self._hub is None:
            return  # connect schedules a take
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._hub.call_later(max(0.0, at - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._take_if_room()
