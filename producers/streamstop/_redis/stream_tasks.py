"""Stream tasks: what Redis knows of the jobs of one stream task; see :mod:`streamstop._core.stream_tasks`."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.stream_tasks import Jobs, OpenJob, TaskNote, fragment_of, note_key
from streamstop._redis.scripts import Script, load
from streamstop._wire.messages import read_job


class StreamTasks:
    """The stream tasks of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def jobs(self, task_id: str, lanes: Sequence[Lane]) -> Jobs:
        """Return the notes of a stream task, and its open jobs in `lanes`, as they are at one moment.

        The jobs of other tasks may be among them: a task's id is unique only together with other parameters.
        """
        notes, found = self._scripts["jobs"](
            key=note_key(task_id), fragment=fragment_of(task_id), lanes=[lane.name for lane in lanes]
        )
        return Jobs(TaskNote.parse_all(task_id, notes.decode(errors="replace")), list(_open_jobs(found)))

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "task")


def _open_jobs(found: Iterable[Sequence[Any]]) -> Iterable[OpenJob]:
    for lane, job_id, message, history, in_flight in found:
        own_id, argument = read_job(message)
        params = argument.get("params") if isinstance(argument, Mapping) else None
        if isinstance(params, Mapping):
            yield OpenJob(
                job_id=job_id.decode(errors="replace") or own_id,
                lane=Lane.from_name(lane.decode(errors="replace")),
                params=params,
                history=AttemptHistory.parse(history.decode(errors="replace")),
                in_flight=bool(in_flight),
            )
