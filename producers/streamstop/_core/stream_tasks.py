r"""Stream tasks: what is noted about the jobs of one stream task, and what it says about a stop that met ``not found``.

Vendors forget stream tasks that have ended. So a second stop of a task that streamstop itself has stopped meets ``not
found``. The notes tell it from a task that never existed.

A worker notes a job when it is deferred and when it has ended, in the string ``streamstop.work.task.<task id>``, newest
first. ``\x01`` separates the notes. A note is text: kind, job id (JSON), lane, parameters (JSON), and ``<state> <in
doubt> <moment, µs>``, a line each, and the id of the shutdown in the last line.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from streamstop._core.constants import NOTES_SEPARATOR, TASK_JOBS
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop.operations import OPERATIONS, Kind
from streamstop.outcomes import Result

#: The state of a job that waits to be called again. Every other state is a result.
DEFERRED = "deferred"

_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def note_key(task_id: str) -> str:
    """Return the key of a task's notes. An id that is long or has unusual characters is hashed."""
    if _PLAIN.fullmatch(task_id):
        return TASK_JOBS + task_id
    return f"{TASK_JOBS}#{hashlib.sha256(task_id.encode(errors='surrogatepass')).hexdigest()[:32]}"


def fragment_of(task_id: str) -> str:
    """Return a part of `task_id` that every message about the task contains, however its JSON is escaped."""
    return max(_WORD.findall(task_id), key=len, default="")


def canonical_params(params: Mapping[str, Any]) -> str:
    """Return parameters as text that is equal for equal parameters."""
    return json.dumps(dict(sorted(params.items())), separators=(",", ":"), ensure_ascii=False)


def stop_lanes(lane: Lane) -> tuple[Lane, ...]:
    """Return the lanes whose operations stop the same stream tasks as those of `lane`, which comes first.

    Two names of one action, such as ``StopMPUTask`` and ``StopLiveMPUTask``, have the same status operation.
    """
    declaration = OPERATIONS.get(lane.operation)
    twin = None if declaration is None else declaration.spec.status_twin
    others = (name for name, other in OPERATIONS.items() if twin is not None and other.spec.status_twin == twin)
    return (lane, *(Lane(lane.account, name) for name in others if name != lane.operation))


@dataclass(frozen=True, kw_only=True)
class TaskNote:
    """What a worker has noted about a job of a stream task."""

    task_id: str
    job_id: str
    lane: Lane
    params: Mapping[str, Any]
    kind: Kind
    #: :data:`DEFERRED`, or the job's result.
    state: str
    #: Whether the vendor may have carried out a call without saying so.
    in_doubt: bool
    #: When the job was deferred or ended, by Redis' clock.
    at: datetime
    shutdown: str | None = None

    @property
    def key(self) -> str:
        """The key of the string that holds the note."""
        return note_key(self.task_id)

    def __str__(self) -> str:
        """Return the note as Redis stores it."""
        at_us = (self.at - _EPOCH) // timedelta(microseconds=1)
        return "\n".join(
            (
                self.kind.value,
                json.dumps(self.job_id),
                self.lane.name,
                canonical_params(self.params),
                f"{self.state} {int(self.in_doubt)} {at_us}",
                self.shutdown or "",
            )
        )

    @classmethod
    def parse(cls, task_id: str, text: str) -> Self | None:
        """Read what ``str`` wrote; None for a text that it did not write, as a newer worker may."""
        try:
            kind, job_id, lane, params, facts, shutdown, *_ = text.split("\n")
            state, in_doubt, at_us, *_ = facts.split(" ")
            read = json.loads(params)
            if not isinstance(read, dict):
                return None
            return cls(
                task_id=task_id,
                job_id=str(json.loads(job_id)),
                lane=Lane.from_name(lane),
                params=read,
                kind=Kind(kind),
                state=state,
                in_doubt=in_doubt == "1",
                at=_EPOCH + int(at_us) * timedelta(microseconds=1),
                shutdown=shutdown or None,
            )
        except (ValueError, RecursionError, OverflowError):
            return None

    @classmethod
    def parse_all(cls, task_id: str, text: str) -> list[Self]:
        """Read the notes of a task, the newest first, without those that :meth:`parse` cannot read."""
        notes = (cls.parse(task_id, note) for note in text.split(NOTES_SEPARATOR))
        return [note for note in notes if note is not None]

    @property
    def result(self) -> Result | None:
        """How the job ended; None while it is deferred, or for a result that only newer workers know."""
        return next((result for result in Result if result.value == self.state), None)


@dataclass(frozen=True)
class OpenJob:
    """A job of a stream task that has not ended: a worker has it, or it was returned to the front of its lane."""

    job_id: str
    lane: Lane
    params: Mapping[str, Any]
    history: AttemptHistory
    #: Whether a worker has it.
    in_flight: bool


@dataclass(frozen=True)
class Jobs:
    """The jobs of one stream task that Redis knows: those that were taken at least once."""

    notes: Sequence[TaskNote]
    open: Sequence[OpenJob]


@dataclass(frozen=True)
class EarlierStop:
    """Another job that explains why a vendor does not know a stream task."""

    job_id: str
    #: When it ended well; None: its call may have stopped the task, but the answer was lost.
    at: datetime | None
    #: Whether it stopped the task. If not, the task had ended before that job, too.
    has_stopped: bool = True

    def __str__(self) -> str:
        if self.at is None:
            return f"job {self.job_id} may have stopped it before: the vendor's answer to that stop was lost"
        did = "had stopped it" if self.has_stopped else "had found it stopped"
        return f"job {self.job_id} {did} at {self.at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class PendingStop:
    """Another job that may be stopping the stream task right now."""

    job_id: str


def explain_not_found(
    jobs: Jobs, job_id: str, lane: Lane, params: Mapping[str, Any]
) -> EarlierStop | PendingStop | None:
    """Return which other job explains that the vendor does not know the task that job `job_id` stops.

    None: no job does. The task ended by itself, or never existed.
    """
    lanes, wanted = stop_lanes(lane), canonical_params(params)

    def concerns(other: TaskNote | OpenJob) -> bool:
        return other.job_id != job_id and other.lane in lanes and canonical_params(other.params) == wanted

    notes = [note for note in latest(jobs.notes) if concerns(note)]
    ended_well = [note for note in notes if note.result is not None and note.result.ok]
    if ended_well:
        # Repeated stops have notes too. The job that stopped the task goes before those that found it stopped.
        note = min(ended_well, key=lambda note: note.result is Result.ALREADY_STOPPED)
        return EarlierStop(note.job_id, note.at, note.result is not Result.ALREADY_STOPPED)
    others = [one for one in jobs.open if concerns(one)]
    for one in others:
        if one.history.in_doubt or one.history.lost_deliveries:
            return EarlierStop(one.job_id, None)
    for note in notes:
        if note.in_doubt:
            return EarlierStop(note.job_id, None)
    return next((PendingStop(one.job_id) for one in others if one.in_flight), None)


def latest(notes: Iterable[TaskNote]) -> list[TaskNote]:
    """Return the latest note of each job. `notes` begin with the newest."""
    latest: dict[str, TaskNote] = {}
    for note in notes:
        latest.setdefault(note.job_id, note)
    return list(latest.values())
