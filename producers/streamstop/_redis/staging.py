"""Staging: writes the entries of a batch to Redis. Nothing reads them before the batch is accepted.

A producer that is killed meanwhile leaves entries that were never accepted. A room's entries expire. A producer that
may only enqueue may not set an expiry: in Redis 6.2 it could then set one on every list of waiting jobs. So it adds its
batch to a set, and the workers' sweep discards batches that stay there for too long.
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
#: How long a room's batch is kept after its last piece if it is not accepted, in s.
_KEPT_S = 300
#: The message of :class:`StagingLost`.
STAGING_LOST = "the staged commands are gone"


def pieces(entries: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield `entries` in slices of `size`."""
    for at in range(0, len(entries), size):
        yield entries[at : at + size]


def entry_of(queued: Queued) -> str:
    """Return a message as an entry of the batch's list: ``<priority step> <lane>``, a newline, and the message."""
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
        # LPUSHX, so that after a discard no list is begun that lacks the first pieces.
        if redis.lpushx(key, *piece) != staged:
            raise StagingLost(STAGING_LOST)
    return batch


def stage_pairs(redis: Redis, entries: Sequence[str]) -> str:
    """Stage a room's entries; return the batch's id. The script that accepts the batch checks that it is complete."""
    batch = uuid4().hex
    key = f"{BATCH}{batch}"
    for start, piece in zip(range(0, len(entries), _PIECE), pieces(entries, _PIECE), strict=True):
        pipeline: Any = redis.pipeline(transaction=True)
        # A hash by number, not a list: a Redis user for rooms may not read lists, for waiting jobs are lists too.
        pipeline.hset(key, mapping={str(number): entry for number, entry in enumerate(piece, start)})
        pipeline.expire(key, _KEPT_S)
        pipeline.execute()
    return batch
