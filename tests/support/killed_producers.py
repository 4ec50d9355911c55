"""Producers that are killed within a call: at a given send to Redis, before or after it."""

from collections.abc import Callable
from typing import Any

from streamstop import Client
from tests.support.client_connections import connections_of


class Killed(BaseException):
    """The producer was killed. It derives from BaseException, so that no handler of the client catches it."""


def client_killed_at_send(url: str, *, sends: int, after: bool) -> Client:
    """Return a client that is killed at send `sends`, counted from 0; with `after`, once Redis has received it."""
    client = Client(url)
    pool = connections_of(client).redis.connection_pool
    parent: Any = pool.connection_class
    left = sends

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            parent.send_packed_command(self, command, check_health)
        elif after and left == -1:
            parent.send_packed_command(self, command, check_health)
            self.read_response(disable_decoding=True)  # Redis has received it, and the producer never sees the reply
            raise Killed
        else:
            raise Killed

    pool.connection_class = type("MortalConnection", (parent,), {"send_packed_command": send_packed_command})
    return client


def kill_at_send(url: str, call: Callable[[Client], object], *, sends: int, after: bool) -> bool:
    """Make `call` with a client that is killed at that send; return whether it was killed before the call returned."""
    with client_killed_at_send(url, sends=sends, after=after) as client:
        try:
            call(client)
        except Killed:
            return True
    return False
