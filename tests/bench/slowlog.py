"""Redis' SLOWLOG: the commands that took Redis long."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

#: The time from which Redis logs a command, and the time that no command of streamstop may take.
NOTED_US, LONGEST_US = 1_000, 5_000
#: Commands of the harness.
_NOT_OURS = {b"INFO", b"SLOWLOG", b"CONFIG", b"FLUSHALL", b"MEMORY"}
_SHOWN = 60
_HASH = re.compile(r"(?<=EVALSHA )[0-9a-f]{40} ")


@dataclass
class SlowLog:
    """The commands that took longer than :data:`NOTED_US`, in µs."""

    commands: list[tuple[int, str]] = field(default_factory=list)

    @property
    def longest(self) -> tuple[int, str]:
        """The longest command; (0, …) if none was logged."""
        return max(self.commands, default=(0, f"none over {NOTED_US} µs"))

    @property
    def longest_ms(self) -> float:
        """The time of the longest command."""
        return self.longest[0] / 1000

    @property
    def too_long(self) -> int:
        """How many commands took longer than :data:`LONGEST_US`."""
        return sum(took > LONGEST_US for took, _ in self.commands)


@contextmanager
def slow_log(redis: Redis) -> Iterator[SlowLog]:
    """Log commands until the block ends, then fill the returned log."""
    client: Any = redis
    client.config_set("slowlog-log-slower-than", NOTED_US)
    client.config_set("slowlog-max-len", 100_000)
    client.slowlog_reset()
    found = SlowLog()
    yield found
    for entry in client.slowlog_get(100_000):
        if entry["command"].split(b" ", 1)[0].upper() not in _NOT_OURS:
            # A script's hash means nothing to a reader; its keys and arguments do.
            shown = _HASH.sub("", entry["command"].decode(errors="replace"))[:_SHOWN]
            found.commands.append((entry["duration"], shown))
