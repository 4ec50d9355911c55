"""Publishing: messages into their lanes, all of one call or none, whatever their number."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from streamstop._core.constants import ARRIVALS, WAKE
from streamstop._core.lane_types import Queued
from streamstop._redis.batches import Batches
from streamstop._redis.errors import ERRORS, is_forbidden
from streamstop._redis.staging import entry_of

#: How many messages go to Redis at once; more are staged as a batch, so that no command holds Redis for long.
AT_ONCE = 500


class Publisher:
    """Puts messages into lanes, for any Redis user. Raises redis-py's errors.

    Only the command that accepts the messages may fail. What else workers are told makes them quick; where it is
    forbidden or fails, their sweep finds the messages.
    """

    def __init__(self, redis: Redis, replicas: int, patience_ms: Callable[[], int]) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._replicas = replicas
        self._patience_ms = patience_ms
        #: What this Redis user may not do, and is not tried again.
        self._forbidden: set[str] = set()

    def put(self, queued: Sequence[Queued]) -> int | Exception:
        """Put messages into their lanes; return how many replicas have confirmed that, or what Redis said instead."""
        lists: defaultdict[str, list[str]] = defaultdict(list)
        for one in queued:
            lists[one.list].append(one.message)
        pipeline = self._redis.pipeline(transaction=False)
        if len(lists) > 1:
            pipeline.execute_command("MULTI")
        for name, messages in lists.items():
            pipeline.lpush(name, *messages)
        if len(lists) > 1:
            pipeline.execute_command("EXEC")
        decisive = len(pipeline)
        tells = self._tell(pipeline, {one.lane.name for one in queued})
        if self._replicas:  # in the same connection: Redis waits for what this one has written
            pipeline.execute_command("WAIT", self._replicas, self._patience_ms())
        replies = pipeline.execute(raise_on_error=False)
        accepted = replies[:decisive]
        for reply in (*accepted, *(accepted[-1] if isinstance(accepted[-1], list) else ())):  # EXEC answers for each
            if isinstance(reply, RedisError):
                raise reply
        self._note(tells, replies[decisive:])
        return replies[-1] if self._replicas else 0

    def stage(self, queued: Sequence[Queued]) -> str:
        """Stage messages as a batch; return its id. Nothing is accepted yet."""
        return Batches(self._redis).stage([entry_of(one) for one in queued])

    def accept(self, batch: str, messages: int) -> int | Exception:
        """Accept a batch of so many messages; return what :meth:`put` does."""
        if not self._replicas:
            Batches(self._redis).accept(batch, messages)
            return 0
        with self._redis.client() as one:  # one connection: Redis waits for what its own has written
            Batches(one).accept(batch, messages)
            try:
                confirmed: int = one.execute_command("WAIT", self._replicas, self._patience_ms())
            except ERRORS as error:
                return error
            return confirmed

    def spread(self, batch: str) -> None:
        """Move an accepted batch into its lanes, as far as it goes.

        The workers' sweep does the rest, and logs what it fails over: the batch is accepted, so the call has succeeded.
        """
        if "spread" in self._forbidden:
            return
        batches = Batches(self._redis)
        try:
            # One round trip each: Redis would run the commands of a pipeline without a pause between them.
            while batches.spread(batch):
                pass
        except ERRORS as error:
            if is_forbidden(error):
                self._forbidden.add("spread")

    def _tell(self, pipeline: Any, lanes: set[str]) -> list[str]:
        """Add to `pipeline` what makes workers look at `lanes` at once; return what was added."""
        commands: dict[str, tuple[str | int, ...]] = {
            "arrive": ("SADD", ARRIVALS, *lanes),
            "wake": ("LPUSH", WAKE, 1),
            "trim": ("LTRIM", WAKE, 0, 0),
        }
        wanted = [name for name in commands if name not in self._forbidden]
        for name in wanted:
            pipeline.execute_command(*commands[name])
        return wanted

    def _note(self, tells: Sequence[str], replies: Sequence[Any]) -> None:
        """Note what of that this Redis user may not do."""
        for name, reply in zip(tells, replies, strict=False):  # the replicas' confirmation may follow
            if isinstance(reply, RedisError) and is_forbidden(reply):
                self._forbidden.add(name)
