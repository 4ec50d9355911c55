"""Sockets that record when the kernel received the data that is read from them.

On a busy machine, the simulator may read a request late. With the time of reading as the time of arrival, calls would
seem closer together or farther apart than they were: the simulator's delays would count as the caller's.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable

# SO_TIMESTAMPNS of Linux, a constant that Python lacks: each read returns when the kernel received the last byte. Other
# systems use the time of reading.
_SO_TIMESTAMPNS = 35 if sys.platform == "linux" else None
_TIMESTAMP = struct.Struct("qq")
#: In s. The kernel's timestamps are of a clock that can be set, so a greater age is ignored.
_MAX_AGE = 10.0


class Listener(socket.socket):
    """A listening TCP socket that does not block, and neither do its connections."""

    def __init__(self, family: int, address: tuple[str, int], backlog: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setblocking(False)
        try:
            self.bind(address)
        except OSError:
            self.close()
            raise
        self.listen(backlog)

    def next_connection(self) -> "Connection":
        """Accept a connection. Raises :class:`BlockingIOError` if there is none."""
        accepted, _ = self.accept()
        connection = Connection(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _SO_TIMESTAMPNS is not None:
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return connection


class Connection(socket.socket):
    """A connection that records when the kernel received its latest bytes."""

    #: In s since the epoch; None while the kernel has not said.
    received: float | None = None

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive, as ``socket.recv`` does."""
        data, ancillary, _, _ = self.recvmsg(size, socket.CMSG_SPACE(_TIMESTAMP.size), flags)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= _TIMESTAMP.size:
                seconds, nanoseconds = _TIMESTAMP.unpack(value[: _TIMESTAMP.size])
                self.received = seconds + nanoseconds / 1e9
        return data

    def age(self, now: Callable[[], float] = time.time) -> float:
        """Return how many s ago the latest bytes arrived."""
        age = 0.0 if self.received is None else now() - self.received
        return age if 0 <= age <= _MAX_AGE else 0.0

    def reset_on_close(self) -> None:
        """Make the caller meet a reset when the connection closes."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
