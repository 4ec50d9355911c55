"""What a Redis holds, as bytes to search in."""

from typing import Any

from redis import Redis


def everything_in(redis: Redis) -> bytes:
    """Return every key and value of `redis`, one a line."""
    held: list[Any] = []  # redis-py types replies as bytes or text; without decode_responses they are bytes
    for key in sorted(redis.scan_iter()):
        held.append(key)
        match redis.type(key):
            case b"string":
                held.append(redis.get(key) or b"")
            case b"list":
                held += redis.lrange(key, 0, -1)
            case b"set":
                held += redis.smembers(key)
            case b"zset":
                held += redis.zrange(key, 0, -1)
            case b"hash":
                for value in redis.hgetall(key).items():
                    held += value
            case b"none":
                pass  # it has expired since it was listed
            case other:
                raise AssertionError(f"{key!r} is of type {other!r}")
    return b"\n".join(held)
