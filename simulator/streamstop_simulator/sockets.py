"""Sockets that know when the kernel received what is read from them.

A process that was not scheduled for a moment reads a request late. Taken as its arrival, the moment of reading would
put calls closer together, or farther apart, than they came: the simulator would report its own delays as its caller's.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable

# Linux' SO_TIMESTAMPNS: each read brings the moment at which the kernel received its last byte. Python has no name for
# it. Elsewhere, the moment of reading has to do.
_TIMESTAMPS = 35 if sys.platform == "linux" else None
_MOMENT = struct.Struct("qq")
#: The kernel's moments are by a clock that can be set; an age beyond this in s is not believed.
_MOST_AGE = 10.0


class Listener(socket.socket):
    """A listening TCP socket whose connections note when the kernel received what they read."""

    def __init__(self, family: int, address: tuple[str, int], backlog: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        #: Of each connection, by its file descriptor: when its latest bytes came, in s since the epoch.
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
        if _TIMESTAMPS is not None:
            connection.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        return connection, address

    def age(self, connection: int, now: Callable[[], float] = time.time) -> float:
        """Return how many s ago the latest bytes of `connection`, a file descriptor, came."""
        age = now() - self.received.get(connection, now())
        return age if 0 <= age <= _MOST_AGE else 0.0


class _Connection(socket.socket):
    received: dict[int, float]

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data, notes, _, _ = self.recvmsg(size, socket.CMSG_SPACE(_MOMENT.size), flags)
        for level, kind, value in notes:
            if level == socket.SOL_SOCKET and kind == _TIMESTAMPS and len(value) >= _MOMENT.size:
                seconds, nanoseconds = _MOMENT.unpack(value[: _MOMENT.size])
                self.received[self.fileno()] = seconds + nanoseconds / 1e9
        return data

    def close(self) -> None:
        self.received.pop(self.fileno(), None)
        super().close()
