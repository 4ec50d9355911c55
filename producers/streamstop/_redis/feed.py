"""Feed: the subscribed connection behind :mod:`streamstop._redis.news`, and the mailboxes of those who listen.

Each listener has a mailbox. It is told to look for itself once Redis has confirmed its channels, and whenever the
connection was lost: nothing is missed between a look and the news. A feed belongs to one thread.
"""

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.client import PubSub
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

from streamstop._core.backend import WaitInterval
from streamstop._redis.errors import ERRORS

#: After how long without any news the connection is tried, in s.
_QUIET_S = 5.0
#: How long after one attempt to connect the next is made, in s.
_RETRY_S = 0.5
#: How many channels one command names.
_BATCH = 1000


class Mailbox:
    """What one listener is told. The waiting thread takes, the news' thread puts."""

    def __init__(self, channels: Collection[str]) -> None:
        self.channels = sorted(channel.encode() for channel in channels)
        #: How many commands to subscribe Redis has not confirmed.
        self.unconfirmed = 0
        self._lock = threading.Lock()
        self._messages: list[bytes] = []
        self._error: Exception | None = None
        self._look = False
        self._arrival: Future[None] = Future()

    def put(self, message: bytes | None = None, error: Exception | None = None) -> None:
        """Put a message, or an error that ends the wait; neither means that the listener must look for itself."""
        with self._lock:
            if message is not None:
                self._messages.append(message)
            self._look |= message is None
            self._error = self._error or error
            if not self._arrival.done():
                self._arrival.set_result(None)

    def pause(self, seconds: float) -> WaitInterval:
        """Return the pause until something is put, of `seconds` at most."""
        return WaitInterval(self._arrival, max(0.0, seconds))

    def take(self) -> tuple[bool, list[bytes]]:
        """Return whether to look, and the messages since the last time. Raises the error that was put."""
        with self._lock:
            if self._error is not None:
                raise self._error
            taken = self._look, self._messages
            self._look, self._messages = False, []
            if self._arrival.done():
                self._arrival = Future()
        return taken


class Feed:
    """One subscribed connection, made anew where it is lost."""

    def __init__(self, redis: Redis, timeout_s: float, wakes: socket.socket) -> None:
        self._redis = redis
        self._timeout_s = timeout_s
        self._wakes = wakes
        self._selector = selectors.DefaultSelector()
        self._selector.register(wakes, selectors.EVENT_READ)
        self._mailboxes: set[Mailbox] = set()
        #: Who listens to a channel.
        self._listeners: dict[bytes, set[Mailbox]] = {}
        self._idle_since = time.monotonic()
        self._pubsub: _OneConnection | None = None
        self._connected_at = -_RETRY_S
        #: Whose channels are still to be subscribed to, and channels that nobody listens to any more.
        self._new: dict[Mailbox, None] = {}
        self._stale: set[bytes] = set()
        #: The commands to subscribe that Redis has not confirmed, in their order: whose, and for how many channels.
        self._unconfirmed: deque[tuple[Mailbox, int]] = deque()
        self._is_pinged = False
        #: When something was last sent or received.
        self._active_at = 0.0

    @property
    def idle_for(self) -> float:
        """For how long nobody has listened, in s."""
        return 0.0 if self._mailboxes else time.monotonic() - self._idle_since

    def change(self, mailbox: Mailbox, comes: bool) -> None:
        """Add a listener, or remove it."""
        if comes:
            self._mailboxes.add(mailbox)
            self._new[mailbox] = None
        else:
            self._mailboxes.discard(mailbox)
            self._new.pop(mailbox, None)
            self._idle_since = time.monotonic()
        for channel in mailbox.channels:
            listeners = self._listeners.setdefault(channel, set())
            if comes:
                listeners.add(mailbox)
                self._stale.discard(channel)
                continue
            listeners.discard(mailbox)
            if not listeners:
                del self._listeners[channel]
                self._stale.add(channel)

    def wait(self) -> None:
        """Wait until there is something to do."""
        for key, _ in self._selector.select(max(0.0, self._next_at() - time.monotonic())):
            if key.fileobj is self._wakes:
                with suppress(BlockingIOError):
                    self._wakes.recv(4096)

    def step(self) -> None:
        """Do what there is to do: connect, subscribe, and hand out what was published."""
        try:
            if self._pubsub is not None:
                self._read(self._pubsub)
            elif self._mailboxes and time.monotonic() >= self._connected_at + _RETRY_S:
                self._connected_at = time.monotonic()
                self._pubsub = _OneConnection(self._redis.connection_pool)
            if self._pubsub is not None:
                self._send(self._pubsub)
        except ERRORS:
            self._lose()

    def fail(self, error: Exception) -> None:
        """End every wait with `error`."""
        for mailbox in self._mailboxes:
            mailbox.put(error=error)

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()
        self._selector.close()

    def _next_at(self) -> float:
        """Return the moment at which there is something to do without any news."""
        if not self._mailboxes:
            return time.monotonic() + _QUIET_S
        if self._pubsub is None:
            return self._connected_at + _RETRY_S
        return self._active_at + (self._timeout_s if self._is_owed_an_answer else _QUIET_S)

    @property
    def _is_owed_an_answer(self) -> bool:
        return self._is_pinged or bool(self._unconfirmed)

    def _read(self, pubsub: "_OneConnection") -> None:
        """Hand out what has come."""
        while pubsub.connection.can_read(timeout=0):
            try:
                # The rest of a message may still be under way.
                message: Any = pubsub.get_message(timeout=self._timeout_s)
            except ResponseError as error:
                if self._unconfirmed:  # it answers the oldest command: a user who may not subscribe
                    self._unconfirmed.popleft()[0].put(error=error)
                continue
            self._active_at = time.monotonic()
            kind = None if message is None else message["type"]
            if kind == "message":
                for mailbox in self._listeners.get(message["channel"], ()):
                    mailbox.put(message["data"])
            elif kind == "subscribe":
                self._confirm()
            elif kind == "pong":
                self._is_pinged = False
        if self._is_owed_an_answer and time.monotonic() >= self._active_at + self._timeout_s:
            raise TimeoutError("Redis does not answer on the subscribed connection")

    def _confirm(self) -> None:
        """Note that Redis has confirmed one channel of the oldest command."""
        mailbox, channels = self._unconfirmed.popleft()
        if channels > 1:
            self._unconfirmed.appendleft((mailbox, channels - 1))
            return
        mailbox.unconfirmed -= 1
        if not mailbox.unconfirmed:
            mailbox.put()

    def _send(self, pubsub: "_OneConnection") -> None:
        """Subscribe to what is new, and end what is stale; ask for a sign of life after a long silence."""
        for mailbox in list(self._new):
            for batch in _batches(mailbox.channels):
                pubsub.subscribe(*batch)
                self._unconfirmed.append((mailbox, len(batch)))
                mailbox.unconfirmed += 1
                self._active_at = time.monotonic()
            del self._new[mailbox]
            self._watch(pubsub)
        if not self._mailboxes:
            return  # redis-py reads nothing from a connection without any channel
        for batch in _batches(sorted(self._stale)):
            pubsub.unsubscribe(*batch)  # type: ignore[no-untyped-call]  # redis-py gives it no types
        self._stale.clear()
        if not self._is_owed_an_answer and time.monotonic() >= self._active_at + _QUIET_S:
            pubsub.ping()
            self._is_pinged = True
            self._active_at = time.monotonic()

    def _watch(self, pubsub: "_OneConnection") -> None:
        """Let :meth:`wait` end when something comes on the connection."""
        sock = pubsub.connection._sock  # noqa: SLF001  # redis-py has no other way to wait for two things
        if sock not in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.register(sock, selectors.EVENT_READ)

    def _lose(self) -> None:
        """Let the listeners look for themselves, which says what is wrong with Redis, and connect again."""
        self._disconnect()
        for mailbox in self._mailboxes:
            mailbox.unconfirmed = 0
            mailbox.put()

    def _disconnect(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._wakes:
                self._selector.unregister(key.fileobj)
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None
        self._unconfirmed.clear()
        self._stale.clear()
        self._is_pinged = False
        self._new = dict.fromkeys(self._mailboxes)


class _OneConnection(PubSub):
    """A subscribed connection that redis-py does not make anew, for the order of answers would be lost."""

    connection: Any

    def on_connect(self, connection: Any) -> None:  # noqa: ARG002  # as redis-py calls it
        """Refuse: it is called for every connection after the first."""
        raise ConnectionLost("Connection closed by server.")


def _batches(channels: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(channels), _BATCH):
        yield channels[start : start + _BATCH]
