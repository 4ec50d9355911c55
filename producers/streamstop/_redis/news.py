"""News: one connection, subscribed to all channels that the waits of a client listen to.

A thread has the connection. It starts with the first listener, adds and removes channels as listeners come and go, and
ends a few seconds after the last has gone.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from redis import Redis

from streamstop._redis.feed import Feed, Mailbox

#: How long the connection is kept for the next listener, in s.
_LINGER_S = 5.0


class News:
    """The channels that the waits of one client listen to."""

    def __init__(self, redis: Redis, timeout: timedelta) -> None:
        self._redis = redis
        self._timeout_s = timeout.total_seconds()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        #: Who came and who went, in order, for the thread.
        self._changes: deque[tuple[Mailbox, bool]] = deque()
        self._listeners = 0
        self._thread: threading.Thread | None = None
        self._waker: socket.socket | None = None
        self._is_closing = False

    @contextmanager
    def listening(self, channels: Collection[str]) -> Iterator[Mailbox]:
        """Listen to `channels` in the block. The mailbox says to look as soon as Redis has confirmed them."""
        mailbox = Mailbox(channels)
        self._change(mailbox, comes=True)
        try:
            yield mailbox
        finally:
            if os.getpid() == self._pid:  # in a forked child nobody listens
                self._change(mailbox, comes=False)

    def close(self) -> None:
        """Let go of the connection once nobody listens; wait for that where nobody does."""
        with self._lock:
            self._is_closing = True
            thread = self._thread
            is_idle = not self._listeners
            self._wake()
        if is_idle and thread is not None and thread is not threading.current_thread():
            thread.join(self._timeout_s)

    def _change(self, mailbox: Mailbox, *, comes: bool) -> None:
        with self._lock:
            self._changes.append((mailbox, comes))
            self._listeners += 1 if comes else -1
            if self._thread is None and comes:
                self._waker, wakes = socket.socketpair()
                self._waker.setblocking(False)
                wakes.setblocking(False)
                self._thread = threading.Thread(target=self._run, args=[wakes], name="streamstop-news", daemon=True)
                self._thread.start()
            self._wake()

    def _wake(self) -> None:
        if self._waker is not None:
            with suppress(BlockingIOError):  # it is full of wakes
                self._waker.send(b"w")

    def _run(self, wakes: socket.socket) -> None:
        feed = Feed(self._redis, self._timeout_s, wakes)
        try:
            while not self._may_end(feed):
                feed.wait()
                while (change := self._next_change()) is not None:
                    feed.change(*change)
                feed.step()
        except Exception as error:  # noqa: BLE001  # the waits raise it, for nobody else would hear of it
            with self._lock:
                self._forget_thread()
            feed.fail(error)
            while (change := self._next_change()) is not None:
                change[0].put(error=error)
        finally:
            feed.close()
            wakes.close()

    def _next_change(self) -> tuple[Mailbox, bool] | None:
        with self._lock:
            return self._changes.popleft() if self._changes else None

    def _may_end(self, feed: Feed) -> bool:
        """Whether nobody listens any more; then this thread is no longer that of the news."""
        with self._lock:
            if self._changes or self._listeners or not (self._is_closing or feed.idle_for >= _LINGER_S):
                return False
            self._forget_thread()
        return True

    def _forget_thread(self) -> None:
        """Let the next listener start a thread. Called with the lock held."""
        self._thread = None
        if self._waker is not None:
            self._waker.close()
            self._waker = None
