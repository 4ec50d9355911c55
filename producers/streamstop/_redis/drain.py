"""Drain: cancels what waits in a lane, page by page, so that no command holds Redis up.

A page is read, its jobs are chosen here, and one script cancels them and removes their messages. Workers may take jobs
meanwhile. A job is cancelled or called, never both, because the script looks at each job again.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from streamstop._core.constants import SHUTDOWN, TASK
from streamstop._core.drained import DrainedJob, DrainFilter, DrainPage
from streamstop._core.lane import Lane
from streamstop._core.membership import Membership, member_result_of
from streamstop._redis.scripts import Script
from streamstop._wire.messages import WaitingJob, read_waiting
from streamstop._wire.results import outcome_record
from streamstop.outcomes import Outcome, Result
from streamstop.settings import CANCELLED_KEPT

#: How many jobs one step reads, and one script cancels.
PAGE = 50
#: Behind how many jobs at the front of a list that stay others are still removed one by one.
_FRONT = 100
#: Farther behind, each is replaced where it stands. One script passes about so many entries on its ways there.
_PASSED = 200_000
#: How many replaced entries one command removes, and how many entries it passes on its way: Redis passes about ten in
#: a µs. Farther from both ends, replaced entries stay until workers come to them, as the messages of cancelled jobs do.
_REMOVED, _DEEPEST = 200, 25_000
#: How often a lane is gone through: jobs move while workers take some.
_MOST_PASSES = 3


class Drain:
    """The drain of one lane. Raises redis-py's errors."""

    def __init__(self, redis: Redis, script: Script, lane: Lane, chosen: DrainFilter) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._script = script
        self._lane = lane
        self._filter = chosen
        self._rooms: dict[str, str | None] = {}
        #: What replaces a message: it names a job that has been cancelled, so a worker that takes it drops it.
        self._tomb = ""

    def pages(self) -> Iterator[DrainPage]:
        """Cancel, and yield what each step has cancelled."""
        for _ in range(_MOST_PASSES):
            found = 0
            for page in self._one_pass():
                found += page.waiting + page.deferred
                yield page
            if self._filter.dry_run or not found:
                return

    def _one_pass(self) -> Iterator[DrainPage]:
        yield from self._deferred()
        for name in self._lane.waiting:
            yield from self._waiting(name)

    def _deferred(self) -> Iterator[DrainPage]:
        left, stay = self._redis.zcard(self._lane.due), 0
        while left > 0:
            ids = self._redis.zrange(self._lane.due, stay, stay + min(left, PAGE) - 1)
            if not ids:
                return
            messages = self._redis.hmget(self._lane.jobs, ids)
            chosen = self._choose([message for message in messages if message is not None])
            cancelled, removed, _ = self._cancel("", 0, 0, chosen)
            left, stay = left - len(ids), stay + len(ids) - removed
            yield DrainPage(self._lane, 0, cancelled, [job.shown for job in chosen[:cancelled]])

    def _waiting(self, name: str) -> Iterator[DrainPage]:
        left, stay, tombs = self._redis.llen(name), 0, Tombs()
        try:
            while left > 0:
                count = min(left, PAGE)
                entries = self._redis.lrange(name, -stay - count, -stay - 1)
                if not entries:
                    return
                left -= len(entries)
                chosen = self._choose(entries[::-1])
                is_near = stay <= _FRONT
                first = 0 if is_near else stay
                stay += len(entries)
                size = PAGE if is_near else max(1, _PASSED // stay)
                for start in range(0, max(1, len(chosen)), size):
                    part = chosen[start : start + size]
                    cancelled, removed, buried = self._cancel(name, first, len(entries), part)
                    stay -= removed
                    tombs.add(first, buried)
                    yield DrainPage(self._lane, cancelled, 0, [job.shown for job in part[:cancelled]])
        finally:
            while count := tombs.next_step(self._redis.llen(name)):
                if self._redis.lrem(name, count, self._tomb) == 0:
                    break  # workers have taken them

    def _choose(self, entries: Sequence[bytes]) -> list["_Chosen"]:
        """Return the jobs of entries of the lane that the filter fits. What cannot be read is not drained."""
        found = []
        for entry in entries:
            job = read_waiting(entry)
            if job is None or not self._fits(job):
                continue
            try:
                found.append(_Chosen.of(job, entry, self._lane, self._filter.by))
            except ValueError:  # text that is not Unicode
                continue
        return found

    def _fits(self, job: WaitingJob) -> bool:
        before, room = self._filter.before, self._filter.room
        if before is not None and (job.enqueued_at is None or job.enqueued_at > before):
            return False
        if room is None:
            return True
        membership = Membership.of_message(job.command)
        return membership is not None and self._room_of(membership.shutdown) == room

    def _room_of(self, shutdown: str) -> str | None:
        if shutdown not in self._rooms:
            room = self._redis.hget(f"{SHUTDOWN}{shutdown}", "room")
            self._rooms[shutdown] = None if room is None else room.decode(errors="replace")
        return self._rooms[shutdown]

    def _cancel(self, name: str, first: int, count: int, jobs: Sequence["_Chosen"]) -> tuple[int, int, int]:
        """Run the script; return how many jobs were cancelled, and how many entries were removed and replaced.

        A dry run cancels none.
        """
        if self._filter.dry_run:
            return len(jobs), 0, 0
        if not jobs:
            return 0, 0, 0
        self._tomb = self._tomb or json.dumps({"headers": {"task": TASK, "id": jobs[0].fields["id"]}})
        cancelled, removed, replaced = self._script(
            name=self._lane.name,
            list=name,
            first=first,
            count=count,
            ttl=int(CANCELLED_KEPT.total_seconds()),
            tomb=self._tomb,
            jobs=[job.fields for job in jobs],
        )
        return int(cancelled), int(removed), int(replaced)


class Tombs:
    """Where the replaced entries of a list stand, so that each command that removes some passes few others.

    Workers may take jobs meanwhile, which moves entries a little.
    """

    def __init__(self) -> None:
        #: Behind how many entries, from the front of the list, a page of tombs begins, and how many these are.
        self._pages: deque[tuple[int, int]] = deque()
        #: How many have been removed at the front.
        self._removed = 0

    def add(self, first: int, count: int) -> None:
        """Note `count` tombs on the page that begins behind the `first` entries, and behind all earlier tombs."""
        if count:
            self._pages.append((first, count))

    def next_step(self, length: int) -> int:
        """Return the count for LREM that removes the next tombs of a list of `length`; 0: none is near enough."""
        count = self._take(self._pages.popleft, 0, lambda first: first + PAGE - self._removed)
        if count:
            self._removed += count
            return -count  # from the front, which is the list's tail
        return self._take(self._pages.pop, -1, lambda first: length - first + self._removed)

    def _take(self, pop: Callable[[], tuple[int, int]], end: int, distance: Callable[[int], int]) -> int:
        count = 0
        while self._pages and count < _REMOVED and distance(self._pages[end][0]) <= _DEEPEST:
            count += pop()[1]
        return count


@dataclass(frozen=True)
class _Chosen:
    """A job to cancel: as the script takes it, and as people are shown it."""

    fields: dict[str, Any]
    shown: DrainedJob

    @classmethod
    def of(cls, job: WaitingJob, entry: bytes, lane: Lane, by: str) -> "_Chosen":
        """Return the job of an entry of `lane`. Raises ValueError if a text of it is not Unicode."""
        job.id.encode()
        params = job.command.get("params")
        outcome = Outcome(
            result=Result.CANCELLED,
            job_id=job.id,
            account=lane.account,
            operation=lane.operation,
            params=params if isinstance(params, dict) else None,
            message=f"drained by {by}",
            enqueued_at=job.enqueued_at,
            ended_at=datetime.now(UTC),
        )
        membership = Membership.of_message(job.command)
        result = None if membership is None else member_result_of(membership, outcome)
        fields = {
            "entry": entry,
            "id": job.id,
            "record": outcome_record(outcome),
            "shutdown": "" if result is None else result.shutdown,
            "member": "" if result is None else result.member,
            "outcome": "" if result is None else result.outcome,
        }
        shown = DrainedJob(
            job_id=job.id, operation=lane.operation, params=outcome.params, enqueued_at=outcome.enqueued_at
        )
        return cls(fields, shown)
