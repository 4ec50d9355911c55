"""Batches of messages: accepted in one step, and then spread over their lanes in small steps.

An accepted batch is as safe as a message in its lane. Its producer spreads it. If the producer was killed, or may not
run scripts, the workers' sweep does. Any number of processes may spread the same batch at the same time.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from streamstop._core.constants import BATCH, BATCHES, STAGED
from streamstop._redis.errors import StagingLost
from streamstop._redis.scripts import Script, load
from streamstop._redis.staging import STAGING_LOST, stage_messages

#: How many messages one step moves.
PIECE = 100
#: How many batches of each kind one call of ``finish`` reads.
_LOOK = 100
#: How long a batch may be staged before it is discarded, in s. Its producer waits much less for each piece.
_STAGED_S = 300


class Batches:
    """The batches of messages of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def stage(self, entries: Sequence[str]) -> str:
        """Stage entries; return the batch's id. Nothing is accepted yet. Raises :class:`StagingLost`."""
        return stage_messages(self._redis, entries)

    def accept(self, batch: str, entries: int) -> None:
        """Accept a staged batch that must hold `entries` entries. Raises :class:`StagingLost` if it does not."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.llen(f"{BATCH}{batch}")
        pipeline.lpush(BATCHES, batch)
        staged, _batches = pipeline.execute()
        if staged != entries:  # it was discarded; its id without entries does no harm
            raise StagingLost(STAGING_LOST)

    def spread(self, batch: str) -> int:
        """Move the next messages of an accepted batch into their lanes; return how many are left."""
        return int(self._scripts["spread"](id=batch, most=PIECE))

    def finish(self, *, steps: int = 200) -> int:
        """Spread accepted batches that producers have left, oldest first; return how many steps it took.

        Take at most `steps` steps. Discard batches that were staged and never accepted. While there is no batch, this
        is one command.
        """
        if not self._redis.exists(BATCHES, STAGED):
            return 0
        done, failure = 0, None
        for batch in reversed(self._redis.lrange(BATCHES, -_LOOK, -1)):
            try:
                while done < steps:
                    done += 1
                    if not self.spread(batch.decode(errors="surrogateescape")):
                        break
            except ResponseError as error:  # a key of another type must not delay other batches
                failure = error
        staged = self._redis.srandmember(STAGED, _LOOK)
        if staged:
            self._scripts["discard"](kept=_STAGED_S, staged=staged)
        if failure is not None:
            raise failure
        return done

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "batch")
