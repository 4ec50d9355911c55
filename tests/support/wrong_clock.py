"""A Redis whose clock is wrong: a proxy before a real server that changes the replies to TIME, and nothing else."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tests.support.loopback import Connection, LoopbackServer


@contextmanager
def redis_with_clock(port: int, ahead_s: int) -> Iterator[str]:
    """Yield the url of the Redis at `port`, with a clock that is `ahead_s` seconds ahead."""

    def relay(client: Connection) -> None:
        requests = client._sock.makefile("rb")
        with requests, socket.create_connection(("127.0.0.1", port)) as server, server.makefile("rb") as replies:
            while request := _message(requests):
                server.sendall(request)
                reply = _message(replies)
                client.send(_later(reply, ahead_s) if request.upper() == b"*1\r\n$4\r\nTIME\r\n" else reply)

    with LoopbackServer(relay) as proxy:
        yield f"redis://127.0.0.1:{proxy.port}/0"


def _message(stream: BinaryIO) -> bytes:
    """Read one value of Redis' protocol; empty at the end."""
    line = stream.readline()
    match line[:1]:
        case b"$" | b"=" if line[1:2] != b"-":
            return line + stream.read(int(line[1:]) + 2)
        case b"*" | b"~" | b"%" if line[1:2] != b"-":
            count = int(line[1:]) * (2 if line.startswith(b"%") else 1)
            return line + b"".join(_message(stream) for _ in range(count))
        case _:
            return line


def _later(reply: bytes, seconds: int) -> bytes:
    count, length, moment, *rest = reply.split(b"\r\n")
    return b"\r\n".join([count, length, b"%d" % (int(moment) + seconds), *rest])
