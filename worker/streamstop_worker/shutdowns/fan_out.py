"""Fan-out: puts the jobs of a shutdown into lanes, cancels them, and counts those that were cancelled.

A worker may die at any point of a step; another one then runs the step again. This is safe, because each write to Redis
also records the progress of the step.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from streamstop._core.lane import Lane
from streamstop._core.lane_types import MemberResult, Queued
from streamstop._core.membership import Membership, member_result_of
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import Entry, Rooms
from streamstop._tracing import Headers
from streamstop._wire.messages import celery_message
from streamstop._wire.results import outcome_record, read_record
from streamstop.operations import OPERATIONS, Kind
from streamstop.outcomes import Outcome, Result

#: How many jobs one write puts into lanes.
BATCH = 100
#: How many jobs one write cancels.
CANCEL_BATCH = 50
#: Fair shares: of a shutdown's jobs in a lane, the first 20 have priority 3, the next 200 have 6, and the rest have 9.
SHARES = ((20, 3), (200 + 20, 6))


class Shutdowns:
    """The worker's side of all shutdowns on one Redis. Raises redis-py's errors."""

    def __init__(self, rooms: Rooms, lanes: Lanes, verify_timeout: timedelta = timedelta(seconds=30)) -> None:
        self.rooms, self.views = rooms, rooms.shutdowns
        self._lanes = lanes
        self._verify_timeout = verify_timeout

    def fan_out(self, shutdown: str) -> Iterator[int]:
        """Put a job for every stream task of the shutdown into its lane. Yield the size of each batch."""
        facts = self.views.facts(shutdown)
        if not facts:
            return
        for _piece in self.rooms.applying(facts["room"]):
            yield 0
        shares = _Shares(self.views.lane_counts(shutdown))
        headers = json.loads(facts.get("trace", "{}"))
        patience = self._verify_timeout.total_seconds() if facts["verify"] == "1" else None

        def put(tasks: Sequence[tuple[str, str]], passed: int = 0) -> bool:
            entries = list(_entries(shutdown, tasks, patience=patience, shares=shares, headers=headers))
            return self.rooms.push(shutdown, entries, passed=passed)

        while tasks := self.views.todo(shutdown, BATCH):
            fresh = self.views.without_job(shutdown, tasks)
            if not put(fresh, passed=len(tasks) - len(fresh)):
                yield from self.cancel_unclaimed(shutdown)
                return
            yield len(tasks)
        is_open = True

        def scan() -> Iterator[int]:
            nonlocal is_open
            cursor, first = 0, True
            while first or cursor:
                first = False
                cursor, tasks = self.rooms.scan(facts["room"], cursor, BATCH)
                fresh = self.views.without_job(shutdown, tasks)
                is_open = not fresh or put(fresh)
                if not is_open:
                    return
                yield len(fresh)

        if facts["scanned"] != "1":
            yield from self._scan_one_server(scan)
        if is_open:
            self.rooms.scanned(shutdown)
        else:
            yield from self.cancel_unclaimed(shutdown)

    def _scan_one_server(self, scan: Callable[[], Iterator[int]]) -> Iterator[int]:
        """Scan, and repeat the scan if Redis was restarted or replaced meanwhile: the scan may have missed members."""
        while True:
            server = self.rooms.server()
            yield from scan()
            if self.rooms.server() == server:
                return

    def cancel_unclaimed(self, shutdown: str) -> Iterator[int]:
        """Cancel the jobs that no worker has claimed. Yield the size of each full batch."""
        facts = self.views.facts(shutdown)
        if not facts:
            return
        for _piece in self.rooms.applying(facts["room"]):
            yield 0
        yield from self._scan_one_server(lambda: self._cancel_unclaimed(shutdown))
        self.rooms.scanned(shutdown)

    def _cancel_unclaimed(self, shutdown: str) -> Iterator[int]:
        jobless: list[tuple[Lane, MemberResult]] = []
        queued: list[tuple[Lane, str, str, MemberResult]] = []
        for member, command, job_id in self.views.members(shutdown):
            lane = _lane_of(json.loads(command))
            membership = Membership(shutdown=shutdown, member=member)
            outcome = Outcome(
                result=Result.CANCELLED,
                job_id=job_id or membership.job_id(lane),
                account=lane.account,
                operation=lane.operation,
                params=json.loads(command).get("params"),
                ended_at=datetime.now(UTC),
            )
            member_result = member_result_of(membership, outcome)
            if job_id is None:
                jobless.append((lane, member_result))
            else:
                queued.append((lane, job_id, outcome_record(outcome), member_result))
            if len(jobless) == CANCEL_BATCH:
                self.rooms.record_member_results(jobless)
                jobless.clear()
                yield CANCEL_BATCH
            if len(queued) == CANCEL_BATCH:
                self._lanes.cancel_many(queued)
                queued.clear()
                yield CANCEL_BATCH
        if jobless:
            self.rooms.record_member_results(jobless)
        if queued:
            self._lanes.cancel_many(queued)

    def was_cancelled(self, shutdown: str) -> bool:
        """Return whether the shutdown was cancelled. Its jobs are then not retried after a fault."""
        return self.views.facts(shutdown).get("cancelled") == "1"

    def record_cancelled_member(self, lane: Lane, membership: Membership, record: bytes | None) -> None:
        """Count a job that was cancelled before it was claimed; `record` is its outcome in Redis."""
        outcome = None if record is None else read_record(record)
        if isinstance(outcome, Outcome) and outcome.result is Result.CANCELLED:
            self.rooms.record_member_result(lane, member_result_of(membership, outcome))


class _Shares:
    """Chooses the priority of a shutdown's next job in a lane, by :data:`SHARES`."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)

    def next(self, lane: Lane) -> int:
        count = self._counts.get(lane.name, 0)
        self._counts[lane.name] = count + 1
        return next((priority for most, priority in SHARES if count < most), 9)


def _entries(
    shutdown: str, tasks: Sequence[tuple[str, str]], *, patience: float | None, shares: _Shares, headers: Headers
) -> Iterator[Entry]:
    """Yield the jobs of `tasks`. With `patience`, in seconds, stops are verified."""
    now = datetime.now(UTC).timestamp()
    for member, command in tasks:
        data = json.loads(command)
        lane = _lane_of(data)
        is_stop = OPERATIONS[lane.operation].spec.kind is Kind.STOP if lane.operation in OPERATIONS else True
        membership = Membership(shutdown=shutdown, member=member)
        if patience is not None and is_stop:
            membership = membership.model_copy(update={"verify": True, "patience": patience})
        job_id, priority = membership.job_id(lane), shares.next(lane)
        argument = membership.in_message({**data, "enqueued_at": now})
        message = celery_message(job_id, lane, argument, priority=priority, headers=headers)
        yield Entry(member, command, job_id, Queued(lane, priority, message))


def _lane_of(command: Mapping[str, Any]) -> Lane:
    """Return the lane of a command. The operation may be one that only newer workers know."""
    return Lane(command["account"], command["operation"])
