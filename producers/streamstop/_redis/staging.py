"""Staging: the entries of a batch on their way into Redis, where nothing reads them before the batch is accepted.

A producer that is killed meanwhile leaves entries that nobody accepted. Those of a room expire. A producer that may
only enqueue may not set an expiry, for in Redis 6.2 it could set one for every list of waiting jobs, too: so it notes
its batch in a set, and the workers' sweep discards what stands there for too long.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from redis import Redis

from streamstop._core.constants import BATCH, STAGED
from streamstop._core.lane import PRIORITY_STEPS
from streamstop._core.lane_types import Queued
from streamstop._redis.errors import StagingLost

#: How many entries one command stages.
_PIECE = 250
#: How long after its last piece a room's batch is kept that nobody accepted, in s.
_KEPT_S = 300


def pieces(entries: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield `entries` in slices of `size`."""
    for at in range(0, len(entries), size):
        yield entries[at : at + size]


def entry_of(queued: Queued) -> str:
    """Return a message as the batch's list has it: ``<priority step> <lane>``, a newline, and the message."""
    return f"{PRIORITY_STEPS[min(queued.priority, 9) // 3]} {queued.lane.name}\n{queued.message}"


def stage_messages(redis: Redis, entries: Sequence[str]) -> str:
    """Stage the entries of messages; return the batch's id. Raises :class:`StagingLost`."""
    batch = uuid4().hex
    key = f"{BATCH}{batch}"
    first, *more = pieces(entries, _PIECE)
    pipeline: Any = redis.pipeline(transaction=True)
    pipeline.sadd(STAGED, batch)
    pipeline.lpush(key, *first)
    pipeline.execute()
    staged = len(first)
    for piece in more:
        staged += len(piece)
        # LPUSHX, for after a discard nothing may begin a list that lacks its first pieces.
        if redis.lpushx(key, *piece) != staged:
            raise StagingLost("what was staged is gone")
    return batch


def stage_pairs(redis: Redis, entries: Sequence[str]) -> str:
    """Stage a room's entries; return the batch's id. Whether it is whole shows when it is accepted."""
    batch = uuid4().hex
    key = f"{BATCH}{batch}"
    for start, piece in zip(range(0, len(entries), _PIECE), pieces(entries, _PIECE), strict=True):
        pipeline: Any = redis.pipeline(transaction=True)
        # A hash by number, and no list: a Redis user for rooms may read no list, for these are waiting jobs, too.
        pipeline.hset(key, mapping={str(number): entry for number, entry in enumerate(piece, start)})
        pipeline.expire(key, _KEPT_S)
        pipeline.execute()
    return batch
