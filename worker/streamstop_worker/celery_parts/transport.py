"""Transport: kombu's Redis transport with one change. Its queue is the schedule of all lanes.

kombu's own channel waits for a message with ``BRPOP``. This one waits for a wake token with ``BLPOP``; the intake then
takes jobs in batches. Broadcasts, events and remote control are kombu's own. Nothing is acknowledged or restored: a
lease in Redis says which worker has a job. ``test_kombu.py`` checks the internals of kombu that this module relies on.
"""

from collections.abc import Callable, Mapping
from queue import Empty
from time import monotonic
from typing import Any

from celery.exceptions import CeleryCommandException
from kombu.transport import redis

from streamstop._core.constants import WAKE
from streamstop._core.lane import QUEUE
from streamstop_worker.celery_parts.not_applicable import PURGE, not_applicable


class _LaneChannel:
    """What both kinds of channel share."""

    # kombu sets these attributes; it has no type hints.
    client: Any
    connection: Any
    connection_errors: tuple[type[Exception], ...]
    brpop_timeout: float
    closed: bool
    #: The queues with a consumer, without those of broadcasts. QUEUE is never one of a broadcast.
    active_queues: list[str]
    #: Sends the ``AUTH`` of a token that a credential provider has renewed. Never raises.
    _flush_brpop_reauth: Callable[[], None]

    #: kombu must not put taken jobs back: the sweep does, when a lease ends.
    do_restore = False
    #: Called when a wake token arrives.
    on_wake: Callable[[], None] | None = None
    #: Called when the channel begins to wait for one.
    on_wait: Callable[[], None] | None = None
    _in_poll: Any = None
    _brpop_sent_at: float | None = None
    #: Whether the pending read waits for a wake token. The queue may be cancelled in the meantime.
    _waits_for_wake = False

    @property
    def is_consuming(self) -> bool:
        """Whether a consumer is connected."""
        return self.connection is not None and not self.closed and QUEUE in self.active_queues

    def deliver(self, headers: Mapping[str, Any], tag: str) -> None:
        """Deliver a message with `headers` to Celery's consumer."""
        properties = {"delivery_tag": tag, "delivery_info": {"exchange": "", "routing_key": QUEUE}}
        message = {"body": "", "headers": headers, "properties": properties, "content-type": "application/json"}
        self.connection._deliver(message, QUEUE)  # noqa: SLF001  # as kombu's channels do

    def _size(self, queue: str) -> int:  # noqa: ARG002  # as kombu calls it
        """Return 0 without asking Redis: no message is ever stored in this queue."""
        return 0

    def _brpop_start(self, timeout: float | None = None) -> None:
        self._waits_for_wake = QUEUE in self.active_queues
        if not self._waits_for_wake:  # for example a client that waits for replies to a broadcast
            super()._brpop_start(timeout)  # type: ignore[misc]  # defined by the class that this mixes into
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self.client.connection.send_command("BLPOP", WAKE, timeout or self.brpop_timeout)
        if self.on_wait is not None:
            self.on_wait()

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
            # As in kombu: only now is no reply pending on this connection, which is never returned to the pool.
            self._flush_brpop_reauth()
        if not wake or self.on_wake is None:
            raise Empty
        self.on_wake()
        return True

    def queue_purge(self, queue: str, **_options: Any) -> int:
        """Refuse, because jobs wait in lanes. Celery's commands print the error as one line."""
        raise CeleryCommandException(f"streamstop: {not_applicable(f'a purge of {queue}', PURGE)}", exit_code=1)

    def _put(self, queue: str, message: Mapping[str, Any], **options: Any) -> None:
        if queue == QUEUE:  # no worker reads it
            why = "jobs go into lanes; enqueue them with streamstop.Client"
            raise CeleryCommandException(f"streamstop: {not_applicable(f'queue {queue}', why)}", exit_code=1)
        super()._put(queue, message, **options)  # type: ignore[misc]  # defined by the class that this mixes into

    def close(self) -> None:
        """Close without waiting for a wake token. A lost token delays a job by a second at most."""
        if self._in_poll:
            self._in_poll = None
            self.client.connection.disconnect()
        super().close()  # type: ignore[misc]  # defined by the class that this mixes into


class Channel(_LaneChannel, redis.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel for ``redis://`` and ``rediss://``."""


class SentinelChannel(_LaneChannel, redis.SentinelChannel):  # type: ignore[misc]
    """A channel for ``sentinel://``."""


class Transport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel
