"""Producers that die in the middle of a call: at a number of sends to Redis, before or after that send."""

from collections.abc import Callable
from typing import Any

from streamstop import Client
from tests.support.client_connections import connections


class Killed(BaseException):
    """The producer is dead; nothing of its own runs on."""


def mortal(url: str, *, sends: int, after: bool) -> Client:
    """Return a client that dies at the send with this number, from 0 on; `after`: once Redis has got it."""
    client = Client(url)
    pool = connections(client).redis.connection_pool
    parent: Any = pool.connection_class
    left = sends

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            parent.send_packed_command(self, command, check_health)
        elif after and left == -1:
            parent.send_packed_command(self, command, check_health)
            self.read_response(disable_decoding=True)  # Redis has got it, and the producer never hears of it
            raise Killed
        else:
            raise Killed

    pool.connection_class = type("MortalConnection", (parent,), {"send_packed_command": send_packed_command})
    return client


def die(url: str, call: Callable[[Client], object], *, sends: int, after: bool) -> bool:
    """Let a producer make `call` and die at that send; return whether it died before the call returned."""
    client = mortal(url, sends=sends, after=after)
    try:
        call(client)
    except Killed:
        return True
    return False
