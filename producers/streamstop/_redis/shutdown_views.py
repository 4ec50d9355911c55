"""Views of shutdowns: their progress, members and outcomes, read from Redis. Nothing here writes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis import Redis

from streamstop._core.constants import SHUTDOWN, SHUTDOWNS_ENDED, SHUTDOWNS_OPEN
from streamstop._core.lane import Lane
from streamstop._core.progress import Progress, progress_of
from streamstop._redis.lane_views import Detail
from streamstop._redis.lanes import Lanes
from streamstop.outcomes import Outcome

#: How many fields one command reads from a hash.
_PAGE = 250


class ShutdownViews:
    """What is read of the shutdowns of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis, lanes: Lanes) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._lanes = lanes

    def progress(self, shutdown: str) -> Progress | None:
        """Return the progress of a shutdown; None if no shutdown has this id."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(f"{SHUTDOWN}{shutdown}")
        pipeline.hgetall(f"{SHUTDOWN}{shutdown}:lanes")  # together, so that hardly a job ends between the two
        fields, by_name = map(_decoded, pipeline.execute())
        if not fields:
            return None
        counts: dict[Lane, list[int]] = {}
        for name, count in by_name.items():
            lane, _, part = name.rpartition(":")
            counts.setdefault(Lane.from_name(lane), [0, 0])[part == "ended"] = int(count)
        by_lane = {lane: (total, ended) for lane, (total, ended) in sorted(counts.items())}
        return progress_of(shutdown, fields, by_lane, self._lanes.views(list(by_lane), Detail.STATE))

    def recent(self, most: int) -> list[str]:
        """Return the ids of the open shutdowns, the oldest first, and then of the ended ones, the latest first."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(SHUTDOWNS_OPEN)
        pipeline.zrange(SHUTDOWNS_ENDED, 0, most - 1, desc=True)
        opened, ended = pipeline.execute()
        shutdowns = [*sorted(opened, key=lambda shutdown: int(opened[shutdown])), *ended]
        return [shutdown.decode() for shutdown in dict.fromkeys(shutdowns)][:most]

    def count_open(self) -> int:
        """Return how many shutdowns are open."""
        return int(self._redis.hlen(SHUTDOWNS_OPEN))

    def ended_between(self, since_us: int, until_us: int) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the shutdowns that have ended from one moment to before another, with the fields of their hashes."""
        for raw in self._redis.zrangebyscore(SHUTDOWNS_ENDED, since_us, f"({until_us}"):
            facts = self.facts(shutdown := raw.decode())
            if facts.get("status", "open") != "open":  # it can be open again, or have expired
                yield shutdown, facts

    def facts(self, shutdown: str) -> dict[str, str]:
        """Return the fields of a shutdown's hash."""
        return self._hash(f"{SHUTDOWN}{shutdown}")

    def outcomes(self, shutdown: str) -> Iterator[Outcome]:
        """Yield the outcomes of a shutdown's stream tasks, read page by page."""
        for _member, outcome in self._redis.hscan_iter(f"{SHUTDOWN}{shutdown}:outcomes", count=_PAGE):
            yield Outcome.model_validate_json(outcome)

    def todo(self, shutdown: str, most: int) -> list[tuple[str, str]]:
        """Return up to `most` members whose jobs are not in their lanes yet, with their commands."""
        members = self._redis.lrange(f"{SHUTDOWN}{shutdown}:todo", 0, most - 1)
        if not members:
            return []
        commands = self._redis.hmget(f"{SHUTDOWN}{shutdown}:tasks", members)
        return [
            (member.decode(), command.decode())
            for member, command in zip(members, commands, strict=True)
            if command is not None
        ]

    def members(self, shutdown: str) -> Iterator[tuple[str, str, str | None]]:
        """Yield the members of a shutdown that have not ended: member, command, and the job's id if it has one."""
        key = f"{SHUTDOWN}{shutdown}"
        cursor: int | None = None
        while cursor != 0:
            cursor, page = self._redis.hscan(f"{key}:tasks", cursor or 0, count=_PAGE)
            if not page:
                continue
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hmget(f"{key}:outcomes", list(page))
            pipeline.hmget(f"{key}:jobs", list(page))
            for (member, command), outcome, job_id in zip(page.items(), *pipeline.execute(), strict=True):
                if outcome is None:
                    yield member.decode(), command.decode(), None if job_id is None else job_id.decode()

    def lane_counts(self, shutdown: str) -> dict[str, int]:
        """Return how many jobs of a shutdown were put into each lane, by the lane's name."""
        counts = self._hash(f"{SHUTDOWN}{shutdown}:lanes")
        return {name.removesuffix(":total"): int(count) for name, count in counts.items() if name.endswith(":total")}

    def without_job(self, shutdown: str, tasks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return those of `tasks` that have no job in the shutdown yet."""
        if not tasks:
            return []
        jobs = self._redis.hmget(f"{SHUTDOWN}{shutdown}:jobs", [member for member, _command in tasks])
        return [task for task, job_id in zip(tasks, jobs, strict=True) if job_id is None]

    def _hash(self, key: str) -> dict[str, str]:
        return _decoded(self._redis.hgetall(key))


def _decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in fields.items()}
