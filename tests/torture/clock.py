"""A Redis whose clock jumps. A server's time cannot be set, so scripts add a shift from a key to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from redis import Redis
from redis.commands.core import Script

#: The seconds that scripts add to Redis' time. Only the tests use this key. Redis persists it as it does all keys.
SHIFT_KEY = "test.clock.shift"

_ASKED = "redis.call('TIME')"
_ANSWERED = (
    "(function() local real = redis.call('TIME') "
    f"return {{string.format('%.0f', real[1] + (redis.call('GET', '{SHIFT_KEY}') or 0)), real[2]}} end)()"
)
_register = Redis.register_script


def register_script(redis: Redis, script: str) -> Script:
    """Register `script` as redis-py does, with another source of time. Nothing else changes."""
    text = script.replace(_ASKED, _ANSWERED)
    assert text.count("TIME'") == text.count("real = redis.call('TIME')"), "the script asks for the time in another way"
    return _register(redis, text)


@contextmanager
def shifted_scripts() -> Iterator[None]:
    """Make the scripts of this process' clients use the shifted clock."""
    with mock.patch.object(Redis, "register_script", register_script):
        yield
