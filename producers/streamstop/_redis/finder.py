"""Finder: searches Redis for the jobs of a stream task, and for one job by its id.

What workers have taken is found at once, by the task's notes and among the jobs in flight. What waits is searched page
by page.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.answers import CallAnswer, answers_key, with_last
from streamstop._core.backend import WaitInterval
from streamstop._core.constants import BATCH, BATCHES, DEAD, LEASED, ROOM
from streamstop._core.lane import Lane, result_key
from streamstop._core.letters import DeadLetter, Matching
from streamstop._core.sightings import JobView, Sighting, Wanted, Where
from streamstop._core.stream_tasks import DEFERRED, TaskNote, fragment_of, latest
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.errors import ERRORS, is_forbidden
from streamstop._redis.found import (
    ended_view,
    identity_of,
    lane_of,
    moment_of,
    open_view,
    shutdown_of,
    sighting_of,
    text_of,
    unwrapped,
)
from streamstop._redis.lanes import Lanes
from streamstop._redis.scripts import Script, load
from streamstop._redis.stream_tasks import StreamTasks
from streamstop._wire.messages import read_job, read_waiting
from streamstop._wire.results import read_record
from streamstop.errors import UnknownDeadLetter
from streamstop.outcomes import Deferral, Outcome

#: How many entries of a list one step reads. It must not hold Redis for longer than 5 ms.
PAGE = 400
#: How many lanes one step searches for jobs in flight.
_LANES = 20
#: How many accepted batches are searched.
_MOST_BATCHES = 100


class Finder:
    """Searches one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis, lanes: Lanes, dead: DeadLetterStore) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._lanes = lanes
        self._dead = dead
        self._tasks = StreamTasks(redis)

    def find(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield the sightings of a stream task, each job once: first what notes and leases say, then the rest.

        It pauses after each page, so that whoever asked can give the search up.
        """
        seen: set[str] = set()
        for search in (self._noted, self._taken, self._dead_letters, self._open, self._waiting):
            for step in search(wanted):
                if isinstance(step, WaitInterval):
                    yield step
                elif step.job_id not in seen:
                    seen.add(str(step.job_id))
                    yield step
        yield from self._registered(wanted)

    def exists(self, job_id: str) -> bool:
        """Return whether there is such a job; see :meth:`look`. A user that may not search is told that it exists."""
        try:
            return self.look(job_id) is not None
        except ERRORS as error:
            if is_forbidden(error):
                return True
            raise

    def look(self, job_id: str) -> JobView | None:
        """Return a job that has a record or a dead letter, or is in its lane, which is searched as a whole."""
        return self._look(job_id) or self._look(job_id)  # it may have moved during the first search

    def _look(self, job_id: str) -> JobView | None:
        # MGET treats a key of another type as absent.
        record, answers = self._redis.mget(result_key(job_id), answers_key(job_id))
        view = self._view(job_id, record)
        if view is None:
            return None
        known = [] if answers is None else CallAnswer.parse_all(text_of(answers))
        return view.model_copy(update={"answers": with_last(known, view.outcome)})

    def _view(self, job_id: str, raw: bytes | None) -> JobView | None:
        """Return the view of a job with this record, without its answers."""
        record, letter = None if raw is None else read_record(raw), self._letter(job_id)
        lane = Lane.of_job(job_id)
        if letter is not None or isinstance(record, Outcome):
            outcome = record if isinstance(record, Outcome) else None if letter is None else letter.outcome
            return ended_view(job_id, lane or Lane("", ""), outcome, letter)
        deferral = record if isinstance(record, Deferral) else None
        if raw is not None and deferral is None:  # of a step of a shutdown, or by a newer version
            return ended_view(job_id, lane or Lane("", ""), None, None)
        lanes = sorted(self._lanes.holding()) if lane is None else [lane]  # of a producer with other ids
        for one in lanes:
            message, history = self._redis.hmget(one.jobs, job_id, f"{job_id}:tries")
            if message is not None:
                due = self._redis.zscore(one.due, job_id)
                view = open_view(
                    job_id, one, Where.IN_FLIGHT if due is None else Where.DEFERRED, history or b"", message
                )
                known = {} if due is None else {"due": moment_of(due), "reason": deferral and deferral.reason}
                return view.model_copy(update=known)
        for page in self._entries(lanes, fragment_of(job_id), lambda found: lane in {None, found}):
            for one, entry, place in page:
                history, message = unwrapped(entry)
                if read_job(message)[0] == job_id:
                    return open_view(job_id, one, Where.WAITING, history, message).model_copy(update={"place": place})
        return None

    def _letter(self, job_id: str) -> DeadLetter | None:
        try:
            return self._dead.get(job_id)
        except UnknownDeadLetter:
            return None

    def _noted(self, wanted: Wanted) -> Iterator[Sighting]:
        """Yield what the notes say, at once."""
        return self._of_notes(wanted, self._tasks.jobs(wanted.task_id, ()).notes)

    def _taken(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield the jobs in flight, and then what the notes say: a job may have ended meanwhile."""
        names = self._redis.zrange(LEASED, 0, -1)
        lanes = [lane for lane in map(lane_of, names) if wanted.fits_lane(lane)]
        notes: Sequence[TaskNote] = ()
        for page in _pages(lanes, _LANES):
            jobs = self._tasks.jobs(wanted.task_id, page)
            notes = jobs.notes
            for job in jobs.open:
                if job.in_flight and wanted.fits(job.lane, job.params):
                    yield sighting_of(Where.IN_FLIGHT, job.lane, job.params, job_id=job.job_id)
            yield _NEXT_PAGE
        yield from self._of_notes(wanted, notes)

    def _of_notes(self, wanted: Wanted, notes: Sequence[TaskNote]) -> Iterator[Sighting]:
        fitting = [note for note in latest(notes) if wanted.fits(note.lane, note.params)]
        pipeline = self._redis.pipeline(transaction=False)
        for note in fitting:
            pipeline.zscore(note.lane.due if note.state == DEFERRED else DEAD, note.job_id)
        for note, score in zip(fitting, pipeline.execute(), strict=True):
            if note.state != DEFERRED:
                where = Where.ENDED if score is None else Where.DEAD
                fields = {"result": note.result, "at": note.at, "shutdown": note.shutdown}
                yield sighting_of(where, note.lane, note.params, job_id=note.job_id, **fields)
            elif score is not None:
                due = moment_of(score)
                yield sighting_of(
                    Where.DEFERRED, note.lane, note.params, job_id=note.job_id, at=due, shutdown=note.shutdown
                )

    def _dead_letters(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield the dead letters. They are kept for longer than notes."""
        matching = Matching(account=wanted.account, operation=wanted.operation, readable=True)
        for page in self._dead.pages(matching, task=wanted.task_id):
            for letter in page:
                lane, params = Lane(letter.account, letter.operation), letter.outcome and letter.outcome.params
                if wanted.fits(lane, params):
                    fields = {"job_id": letter.id, "result": letter.result, "at": letter.died_at, "room": letter.room}
                    yield sighting_of(Where.DEAD, lane, params, **fields)
            yield _NEXT_PAGE

    def _open(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield jobs in flight, and deferred jobs that have no note, as those of workers of earlier versions."""
        fragment = fragment_of(wanted.task_id).encode()
        for lane in self._active(wanted):
            cursor: int | None = None
            while cursor != 0:
                cursor, fields = self._redis.hscan(lane.jobs, cursor or 0, count=PAGE)
                for job_id, message in fields.items():
                    if fragment not in message and b'"base64"' not in message:
                        continue
                    job = read_waiting(message)
                    if job is None or job.id.encode() != job_id or not wanted.fits(lane, job.command.get("params")):
                        continue
                    due = self._redis.zscore(lane.due, job_id)
                    where = Where.IN_FLIGHT if due is None else Where.DEFERRED
                    at, shutdown = None if due is None else moment_of(due), shutdown_of(job.command)
                    yield sighting_of(where, lane, job.command["params"], job_id=job.id, at=at, shutdown=shutdown)
                yield _NEXT_PAGE

    def _waiting(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield the jobs that wait, and those of accepted batches that are not in their lanes yet."""
        for page in self._entries(self._active(wanted), fragment_of(wanted.task_id), wanted.fits_lane):
            for lane, message, place in page:
                job = read_waiting(message)
                if job is None or not wanted.fits(lane, params := job.command.get("params")):
                    continue
                record = self._lanes.record_of(job.id)
                ended = None if record is None else read_record(record)
                fields: dict[str, Any] = {"job_id": job.id, "shutdown": shutdown_of(job.command)}
                if isinstance(ended, Outcome):  # such as cancelled: the message is dropped when it comes up
                    yield sighting_of(Where.ENDED, lane, params, result=ended.result, at=ended.ended_at, **fields)
                else:
                    yield sighting_of(Where.WAITING, lane, params, at=job.enqueued_at, place=place, **fields)
            yield _NEXT_PAGE

    def _entries(
        self, lanes: Sequence[Lane], fragment: str, fits: Callable[[Lane], bool]
    ) -> Iterator[list[tuple[Lane, bytes, int | None]]]:
        """Yield the entries of `lanes` that contain `fragment`, and those in accepted batches for lanes that fit.

        They come in pages, each with its lane and its place.
        """
        for lane in lanes:
            before = 0
            for name in lane.waiting:
                length = 0
                for length, found in self._pages_of(name, fragment):
                    yield [(lane, entry, before + length - position) for position, entry in found]
                before += length or int(self._redis.llen(name))
        for batch in self._batches():
            for _length, found in self._pages_of(f"{BATCH}{text_of(batch)}", fragment):
                split = [entry.partition(b"\n") for _position, entry in found]
                messages = [(lane_of(head.partition(b" ")[2]), message) for head, _, message in split]
                yield [(lane, message, None) for lane, message in messages if fits(lane)]

    def _batches(self) -> list[bytes]:
        """Return the accepted batches; none for a user that may not read them: workers spread them within seconds."""
        try:
            return list(self._redis.lrange(BATCHES, 0, _MOST_BATCHES - 1))
        except ERRORS as error:
            if is_forbidden(error):
                return []
            raise

    def _pages_of(self, name: str, fragment: str) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
        """Yield pages of a list: its length, and the positions and bytes of the entries that contain `fragment`."""
        first, length = 0, 1
        while first < length:
            length, found = self._scripts["waiting"](list=name, first=first, most=PAGE, fragment=fragment)
            yield length, [(position, entry) for position, entry in found]
            first += PAGE

    def _registered(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """Yield the rooms in which the stream task is registered."""
        pattern = f"*{fragment_of(wanted.task_id)}*"
        for key in self._room_keys():
            if key is None:
                yield _NEXT_PAGE
                continue
            room = text_of(key).removeprefix(ROOM).removesuffix(":tasks")
            cursor: int | None = None
            while cursor != 0:
                cursor, tasks = self._redis.hscan(key, cursor or 0, match=pattern, count=PAGE)
                for task in tasks:
                    account, operation, params = identity_of(task)
                    lane = Lane(account, operation)
                    if wanted.fits(lane, params):
                        yield sighting_of(Where.REGISTERED, lane, params, room=room)
                if cursor:
                    yield _NEXT_PAGE

    def _room_keys(self) -> Iterator[bytes | None]:
        """Yield the keys of all rooms, and None after each page."""
        cursor: int | None = None
        while cursor != 0:
            cursor, keys = self._redis.scan(cursor or 0, match=f"{ROOM}*:tasks", count=PAGE)
            yield from keys
            yield None

    def _active(self, wanted: Wanted) -> list[Lane]:
        lanes = {lane for lane in self._lanes.holding() if wanted.fits_lane(lane)}
        if wanted.account is not None and wanted.operation is not None:
            lanes.add(Lane(wanted.account, wanted.operation))
        return sorted(lanes)

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "task")


def _passed() -> Future[None]:
    passed: Future[None] = Future()
    passed.set_result(None)
    return passed


#: A pause that is over: a search goes on with its next page.
_NEXT_PAGE = WaitInterval(_passed(), 0.0)


def _pages(lanes: Sequence[Lane], size: int) -> Iterator[Sequence[Lane]]:
    """Yield `lanes` in pages; one empty page if there are none."""
    for first in range(0, max(1, len(lanes)), size):
        yield lanes[first : first + size]
