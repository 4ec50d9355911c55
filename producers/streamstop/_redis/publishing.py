"""Publishing: puts the messages of one call into their lanes, all of them or none."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from streamstop._core.constants import ARRIVALS, WAKE
from streamstop._core.lane_types import Queued
from streamstop._core.requests import Request
from streamstop._redis.batches import Batches
from streamstop._redis.errors import ERRORS, is_forbidden
from streamstop._redis.requests import Accepted, OneJob, Requests
from streamstop._redis.staging import entry_of

#: How many messages are sent at once. More are staged as a batch, so that no command blocks Redis for long.
AT_ONCE = 500


class Publisher:
    """Puts messages into lanes, for any Redis user. Raises redis-py's errors.

    Only an error of the command that accepts the messages is raised. The other commands announce the messages to
    workers. If these commands are forbidden or fail, the workers' sweep finds the messages a little later.
    """

    def __init__(self, redis: Redis, replicas: int, replica_timeout_ms: Callable[[], int]) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._replicas = replicas
        self._replica_timeout_ms = replica_timeout_ms
        #: Optional commands that have failed with NOPERM. They are not retried.
        self._forbidden: set[str] = set()

    def put(self, queued: Sequence[Queued]) -> int | Exception:
        """Put messages into their lanes; return how many replicas have confirmed them, or the error of asking."""
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
        announcements = self._announce(pipeline, {one.lane.name for one in queued})
        if self._replicas:  # WAIT counts what its own connection has written
            pipeline.execute_command("WAIT", self._replicas, self._replica_timeout_ms())
        replies = pipeline.execute(raise_on_error=False)
        accepted = replies[:decisive]
        for reply in (*accepted, *(accepted[-1] if isinstance(accepted[-1], list) else ())):  # EXEC answers for each
            if isinstance(reply, RedisError):
                raise reply
        self._remember_forbidden(announcements, replies[decisive:])
        return replies[-1] if self._replicas else 0

    def put_once(self, jobs: Sequence[OneJob], request: Request | None) -> tuple[Accepted, int | Exception]:
        """Put jobs into their lanes, but not those of unique commands with open jobs, nor any of a repeated request.

        Return what became of them, and the same as :meth:`put`. The Redis user must be allowed to run scripts.
        """
        with self._redis.client() as connection:  # WAIT counts what its own connection has written
            accepted = Requests(connection).enqueue(jobs, request)
            return accepted, self._await_replicas(connection)

    def begin(self, request: Request) -> tuple[Accepted | None, int | Exception]:
        """Note that a request is under way; return what an earlier call has accepted, and the same as :meth:`put`."""
        with self._redis.client() as connection:
            accepted = Requests(connection).begin(request)
            return accepted, self._await_replicas(connection) if accepted else 0

    def forget(self, request: Request) -> None:
        """Forget a request that was begun and not accepted. Without this, it counts as under way for a minute."""
        with suppress(*ERRORS):
            Requests(self._redis).forget(request)

    def stage(self, queued: Sequence[Queued]) -> str:
        """Stage messages as a batch; return its id. Nothing is accepted yet."""
        return Batches(self._redis).stage([entry_of(one) for one in queued])

    def accept(self, batch: str, messages: int) -> int | Exception:
        """Accept a staged batch of `messages` messages; return the same as :meth:`put`."""
        with self._redis.client() as connection:  # WAIT counts what its own connection has written
            Batches(connection).accept(batch, messages)
            return self._await_replicas(connection)

    def accept_once(self, batch: str, messages: int, request: Request) -> tuple[Accepted, int | Exception]:
        """Accept a staged batch as the commands of a request; return what became of them, as :meth:`put_once`."""
        with self._redis.client() as connection:
            accepted = Requests(connection).accept(request, batch, messages)
            return accepted, self._await_replicas(connection)

    def spread(self, batch: str) -> None:
        """Move an accepted batch into its lanes, until it is empty or Redis returns an error.

        The call has succeeded, because the batch is accepted. The workers' sweep moves the rest, and logs errors.
        """
        if "spread" in self._forbidden:
            return
        batches = Batches(self._redis)
        try:
            # One round trip for each step: Redis runs a pipeline's commands without a pause between them.
            while batches.spread(batch):
                pass
        except ERRORS as error:
            if is_forbidden(error):
                self._forbidden.add("spread")

    def _await_replicas(self, connection: Any) -> int | Exception:
        """Return how many replicas have what `connection` wrote, or the error of asking; 0 if none is asked for."""
        if not self._replicas:
            return 0
        try:
            return int(connection.execute_command("WAIT", self._replicas, self._replica_timeout_ms()))
        except ERRORS as error:
            return error

    def _announce(self, pipeline: Any, lanes: set[str]) -> list[str]:
        """Add to `pipeline` the commands that announce `lanes` to workers; return their names."""
        commands: dict[str, tuple[str | int, ...]] = {
            "arrive": ("SADD", ARRIVALS, *lanes),
            "wake": ("LPUSH", WAKE, 1),
            "trim": ("LTRIM", WAKE, 0, 0),
        }
        allowed = [name for name in commands if name not in self._forbidden]
        for name in allowed:
            pipeline.execute_command(*commands[name])
        return allowed

    def _remember_forbidden(self, names: Sequence[str], replies: Sequence[Any]) -> None:
        """Remember which of the commands `names` Redis forbids to this user."""
        for name, reply in zip(names, replies, strict=False):  # the reply of WAIT may follow
            if isinstance(reply, RedisError) and is_forbidden(reply):
                self._forbidden.add(name)
