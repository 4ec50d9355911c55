"""Recorded lanes: the lanes of a :class:`~streamstop.testing.RecordingClient`. Every open job waits."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from streamstop._core.commands import Command
from streamstop._core.controls import Controls
from streamstop._core.drained import DrainedJob, DrainFilter, DrainPage
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView
from streamstop._core.sightings import Sighting, Where
from streamstop.outcomes import Outcome, Result
from streamstop.testing.answers import cancelled_outcome


@dataclass(frozen=True)
class OpenJob:
    """A job that has not ended."""

    id: str
    command: Command
    enqueued_at: datetime
    #: The room of its shutdown.
    room: str | None


class RecordedLanes:
    """See :class:`~streamstop._core.lane_backend.LaneBackend`."""

    def __init__(
        self,
        open_jobs: Callable[[], Sequence[OpenJob]],
        end: Callable[[Outcome], None],
        outcomes: Callable[[], Sequence[Outcome]],
        controls: Callable[[], Controls],
    ) -> None:
        self._open_jobs = open_jobs
        self._end = end
        self._outcomes = outcomes
        self._controls = controls

    def holding(self) -> Collection[Lane]:
        """Return the lanes with open jobs."""
        return {job.command.lane for job in self._open_jobs()}

    def cancelled(self) -> Mapping[Lane, int]:
        """Return how many jobs of each lane were cancelled."""
        ended = (outcome for outcome in self._outcomes() if outcome.result is Result.CANCELLED)
        return Counter(Lane(outcome.account, outcome.operation) for outcome in ended)

    def recent(self, within: timedelta) -> Collection[Lane]:  # noqa: ARG002
        """Return no lane: no worker makes a call."""
        return ()

    def views(self, lanes: Sequence[Lane]) -> list[LaneView]:
        """Return the views of `lanes`, with their open jobs, pauses and limits."""
        moments: dict[Lane, list[datetime]] = {}
        for job in self._open_jobs():
            moments.setdefault(job.command.lane, []).append(job.enqueued_at)
        now, controls = datetime.now(UTC), self._controls()
        views = []
        for lane in lanes:
            override = controls.limit_of(lane)
            views.append(
                LaneView(
                    account=lane.account,
                    operation=lane.operation,
                    at=now,
                    waiting=len(moments.get(lane, ())),
                    oldest_waiting_at=min(moments.get(lane, ()), default=None),
                    limit=override and override.limit,
                    limit_override=override,
                    paused=controls.pause_of(lane),
                )
            )
        return views

    def jobs(self, lane: Lane, where: Where, first: int, most: int) -> list[Sighting]:
        """Return the open jobs of `lane`, in the order in which they were enqueued. All of them wait."""
        found = [job for job in self._open_jobs() if job.command.lane == lane] if where is Where.WAITING else []
        return [
            Sighting(
                where=where,
                account=lane.account,
                operation=lane.operation,
                params=job.command.operation.params,
                job_id=job.id,
                at=job.enqueued_at,
                place=place,
            )
            for place, job in enumerate(found[first : first + most], first + 1)
        ]

    def draining(self, lane: Lane, chosen: DrainFilter) -> Iterator[DrainPage]:
        """Cancel the open jobs of `lane` that fit, in one step."""
        jobs = []
        for job in self._open_jobs():
            is_old = chosen.before is None or job.enqueued_at <= chosen.before
            if job.command.lane == lane and is_old and chosen.room in {None, job.room}:
                params = job.command.operation.params
                jobs.append(
                    DrainedJob(job_id=job.id, operation=lane.operation, params=params, enqueued_at=job.enqueued_at)
                )
                if not chosen.dry_run:
                    outcome = cancelled_outcome(job.id, lane)
                    self._end(outcome.model_copy(update={"message": f"drained by {chosen.by}"}))
        yield DrainPage(lane, len(jobs), 0, jobs)
