"""Transport: kombu's Redis transport, whose one queue is the schedule of all lanes.

Broadcasts, events and remote control stay kombu's. Where the stock channel waits in ``BRPOP`` for a message, this one
waits in ``BLPOP`` for a wake, and then has jobs taken; kombu's virtual channels are made for messages in bulk. Nothing
is acknowledged or restored: a job is its worker's by its lease. ``test_kombu.py`` names what is relied on.
"""

from collections.abc import Callable, Mapping
from queue import Empty
from time import monotonic
from typing import Any

from celery.exceptions import CeleryCommandException
from kombu.transport import redis

from streamstop.lanes.names import QUEUE, WAKE
from streamstop_worker.celery_parts.not_applicable import not_applicable


class _LaneChannel:
    """What both kinds of channel have of ours."""

    # Celery's types know none of these.
    client: Any
    connection: Any
    connection_errors: tuple[type[Exception], ...]
    brpop_timeout: float
    active_queues: list[str]
    closed: bool
    _active_queues: list[str]

    #: Jobs that were taken are not kombu's to bring back.
    do_restore = False
    #: Called when a wake has come.
    on_wake: Callable[[], None] | None = None
    _in_poll: Any = None
    _brpop_sent_at: float | None = None
    #: Whether the wait under way is for a wake; the queue may be cancelled meanwhile.
    _waits_for_wake = False

    @property
    def is_consuming(self) -> bool:
        """Whether there is a consumer to deliver to."""
        return self.connection is not None and not self.closed and QUEUE in self._active_queues

    def deliver(self, headers: Mapping[str, Any], tag: str) -> None:
        """Give Celery's consumer a message that has `headers`."""
        properties = {"delivery_tag": tag, "delivery_info": {"exchange": "", "routing_key": QUEUE}}
        message = {"body": "", "headers": headers, "properties": properties, "content-type": "application/json"}
        self.connection._deliver(message, QUEUE)  # noqa: SLF001  # as kombu's channels do

    def _size(self, queue: str) -> int:  # noqa: ARG002  # as kombu calls it
        """Return 0 without asking Redis: the queue is the schedule's name to Celery, and nothing ever lies in it."""
        return 0

    def _brpop_start(self, timeout: float | None = None) -> None:
        self._waits_for_wake = QUEUE in self.active_queues
        if not self._waits_for_wake:  # such as who waits for the answers to a broadcast
            super()._brpop_start(timeout)  # type: ignore[misc]  # the channel that this is mixed into has it
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self.client.connection.send_command("BLPOP", WAKE, timeout or self.brpop_timeout)

    def _brpop_read(self, **options: Any) -> bool:
        if not self._waits_for_wake:
            return super()._brpop_read(**options)  # type: ignore[misc, no-any-return]  # as above
        try:
            wake = self.client.parse_response(self.client.connection, "BLPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
        if not wake or self.on_wake is None:
            raise Empty
        self.on_wake()
        return True

    def queue_purge(self, queue: str, **_options: Any) -> int:
        """Refuse: jobs lie in lanes. Celery's commands print the error as one line."""
        why = "jobs that wait are cancelled, one by one or with their room"
        raise CeleryCommandException(f"streamstop: {not_applicable(f'a purge of {queue}', why)}", exit_code=1)

    def _put(self, queue: str, message: Mapping[str, Any], **options: Any) -> None:
        if queue == QUEUE:  # no worker would ever find it there
            why = "jobs go into their lanes, as streamstop.Client puts them"
            raise CeleryCommandException(f"streamstop: {not_applicable(f'queue {queue}', why)}", exit_code=1)
        super()._put(queue, message, **options)  # type: ignore[misc]  # the channel that this is mixed into has it

    def close(self) -> None:
        """Close, without waiting for a wake: one that is lost costs no more than a second."""
        if self._in_poll:
            self._in_poll = None
            self.client.connection.disconnect()
        super().close()  # type: ignore[misc]  # the channel that this is mixed into has it


class Channel(_LaneChannel, redis.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel of a Redis that is named by its own address."""


class SentinelChannel(_LaneChannel, redis.SentinelChannel):  # type: ignore[misc]
    """A channel of the Redis that sentinels name."""


class Transport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel
