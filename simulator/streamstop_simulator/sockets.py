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
    """A listening TCP socket whose connections record when the kernel received their data."""

    def __init__(self, family: int, address: tuple[str, int], backlog: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        #: File descriptor of a connection to the time when its latest bytes arrived, in s since the epoch.
        self.received: dict[int, float] = {}
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setblocking(False)
        try:
            self.bind(address)
        except OSError:
            self.close()
            raise
        self.listen(backlog)

    def accept(self) -> tuple[socket.socket, object]:
        """Accept a connection, as ``socket.accept`` does."""
        accepted, address = super().accept()
        connection = _Connection(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        connection.received = self.received
        if _SO_TIMESTAMPNS is not None:
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return connection, address

    def age(self, connection: int, now: Callable[[], float] = time.time) -> float:
        """Return how many s ago the latest bytes of `connection`, a file descriptor, arrived."""
        age = now() - self.received.get(connection, now())
        return age if 0 <= age <= _MAX_AGE else 0.0


class _Connection(socket.socket):
    received: dict[int, float]

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data, ancillary, _, _ = self.recvmsg(size, socket.CMSG_SPACE(_TIMESTAMP.size), flags)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= _TIMESTAMP.size:
                seconds, nanoseconds = _TIMESTAMP.unpack(value[: _TIMESTAMP.size])
                self.received[self.fileno()] = seconds + nanoseconds / 1e9
        return data

    def close(self) -> None:
        self.received.pop(self.fileno(), None)
        super().close()
