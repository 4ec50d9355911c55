"""Batches of messages: accepted by one step, and then spread over their lanes in small ones.

From its acceptance on a batch is as safe as a message in its lane. Its producer spreads it, and where that was killed
or may run no script, the workers' sweep does. Any number of processes may spread one batch at the same time.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from streamstop._core.constants import BATCH, BATCHES, STAGED
from streamstop._redis.errors import StagingLost
from streamstop._redis.scripts import Script, load
from streamstop._redis.staging import stage_messages

#: How many messages one step moves.
PIECE = 100
#: How many batches of a kind one look finds.
_LOOK = 100
#: How long a batch may be staged before it is discarded, in s. Its producer waits far less for each piece.
_STAGED_S = 300


class Batches:
    """The batches of messages of one Redis. Raises redis-py's errors where Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def stage(self, entries: Sequence[str]) -> str:
        """Stage entries; return the batch's id. Nothing is accepted yet. Raises :class:`StagingLost`."""
        return stage_messages(self._redis, entries)

    def accept(self, batch: str, entries: int) -> None:
        """Accept a staged batch of so many entries, whole. Raises :class:`StagingLost` where it is gone."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.llen(f"{BATCH}{batch}")
        pipeline.lpush(BATCHES, batch)
        held, _batches = pipeline.execute()
        if held != entries:  # it was discarded; its id without entries does no harm
            raise StagingLost("what was staged is gone")

    def spread(self, batch: str) -> int:
        """Move the next messages of an accepted batch into their lanes; return how many are left."""
        return int(self._scripts["spread"](id=batch, most=PIECE))

    def finish(self, *, steps: int = 200) -> int:
        """Spread what producers left of accepted batches, oldest first; return in how many steps, `steps` at most.

        Discard what was staged and never accepted. It is one command while there is no batch.
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
            except ResponseError as error:  # a lane whose list is none must not hold up other batches
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
