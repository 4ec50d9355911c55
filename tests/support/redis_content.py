"""The content of a Redis: what keeps it over a kill, its bytes to search, and the keys without a time to live."""

import re
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

#: The options of a Redis that loses nothing when its process is killed: it writes each change to its file before it
#: answers, and the system keeps what is written. With `everysec`, Redis postpones writes for up to two seconds while a
#: sync to a slow disk is under way.
SURVIVES_A_KILL = ("--appendonly", "yes", "--appendfsync", "no")
#: The keys that are ours.
_OURS = re.compile(rb"streamstop|celery-task-meta-")
#: Those of them that stay: the latest events, and while something uses them, the registry of accounts, dead letters,
#: and jobs that have not ended, with the indexes of their lanes.
_MAY_STAY = re.compile(
    rb"streamstop\.(accounts"
    rb"|controls|events"
    rb"|dead(:count|:results|\..*)?"
    rb"|schedule|arrivals|wake|ready|batches|staged|batch\..*|lane\..*"
    rb"|work\.(leased|.*:(jobs|leases|due)))$"
)


def everything_in(redis: Redis) -> bytes:
    """Return every key and value of `redis`, one a line."""
    parts: list[Any] = []  # redis-py types replies as bytes or text; without decode_responses they are bytes
    for key in sorted(redis.scan_iter()):
        parts.append(key)
        match redis.type(key):
            case b"string":
                parts.append(redis.get(key) or b"")
            case b"list":
                parts += redis.lrange(key, 0, -1)
            case b"set":
                parts += redis.smembers(key)
            case b"zset":
                parts += redis.zrange(key, 0, -1)
            case b"hash":
                for value in redis.hgetall(key).items():
                    parts += value
            case b"stream":
                entries: Any = redis.xrange(key)
                for _id, fields in entries:
                    for value in fields.items():
                        parts += value
            case b"none":
                pass  # it has expired since it was listed
            case other:
                raise AssertionError(f"{key!r} is of type {other!r}")
    return b"\n".join(parts)


def keys_without_ttl(redis: Redis) -> list[bytes]:
    """Return our keys that have no time to live and should have one; none where Redis is gone."""
    try:
        keys = [key for key in redis.scan_iter(count=1000) if _OURS.match(key) and not _MAY_STAY.match(key)]
        return sorted(key for key in keys if redis.ttl(key) == -1)
    except (NoConnection, NoAnswer):
        return []
