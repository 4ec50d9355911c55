"""Dead letters: the handle for the people on call."""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from streamstop._core.backend import Backend
from streamstop._core.controls import check_by
from streamstop._core.durations import wait_duration
from streamstop._core.journal import EventKind
from streamstop._core.lane import Lane
from streamstop._core.letters import DeadLetter, LetterCounts, Matching, Position, no_command
from streamstop.errors import NotRequeueable, StreamstopError, UnknownDeadLetter
from streamstop.jobs import Job
from streamstop.outcomes import Result

_T = TypeVar("_T")

_ALL = Matching()


@dataclass(frozen=True)
class LetterAct:
    """What became of one letter in a bulk act."""

    letter_id: str
    #: The new job of a letter that was requeued.
    job: Job | None = None
    #: Why the letter is neither requeued nor dropped.
    problem: str | None = None


@dataclass(frozen=True)
class _Act:
    """What a bulk act does to each letter."""

    kind: EventKind
    call: Callable[[str], Job | None]
    needs_command: bool = False


class DeadLetters:
    """Jobs that ended ``refused``, ``not_found``, ``gave_up``, ``expired`` or ``not_verified``; unreadable messages.

    ::

        dead = client.dead_letters
        dead.requeue_matching(Matching(account="live-cn", code="Forbidden.RAM"))

    A letter is kept until it is requeued or dropped. Beyond 100,000 letters, the oldest are deleted. Every method
    raises :class:`~streamstop.errors.QueueUnavailable` if Redis does not answer.

    `by` is who acts. Each act on several letters becomes one event; `by` None is the user and host of this process. An
    act on one letter becomes an event if `by` is given.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def count(self) -> int:
        """Return how many letters there are."""
        with self._backend.reaching("the dead letters could not be counted"):
            return self._backend.dead.count()

    def count_by_result(self) -> Mapping[Result | None, int]:
        """Return how many letters there are of each result; None: of messages that could not be read."""
        with self._backend.reaching("the dead letters could not be counted"):
            return self._backend.dead.count_by_result()

    def letters(self, matching: Matching = _ALL, *, after: Position | None = None) -> Iterator[DeadLetter]:
        """Yield the letters that match, oldest first. They can be requeued and dropped meanwhile.

        `after` is the ``(died_at, id)`` of a letter, which may be gone: only later letters are yielded.
        """
        with self._backend.following("the dead letters could not be read"):
            for page in self._backend.dead.pages(matching, after):
                yield from page

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter; its id is the job's id. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        with self._backend.reaching("the dead letter could not be read"):
            return self._backend.dead.get(letter_id)

    def requeue(self, letter_id: str, *, by: str | None = None) -> Job:
        """Enqueue the command of a letter again, as a new job. This deletes the letter, so it cannot happen twice.

        The job has no expiry. If it was part of a shutdown, its stream task is open there again. Raises
        :class:`~streamstop.errors.UnknownDeadLetter`, also if another call has requeued or dropped the letter, and
        :class:`~streamstop.errors.NotRequeueable` if the message holds no command.
        """
        by = None if by is None else check_by(by)
        with self._backend.reaching("it may or may not be requeued; requeue it again, it cannot double"):
            job = Job(self._backend.dead.requeue(letter_id), self._backend)
        if by is not None:
            text = f"dead letter {letter_id} is requeued as job {job.id}"
            self._tell(EventKind.REQUEUED, text, [Lane.of_job(job.id)], by)
        return job

    def drop(self, letter_id: str, *, by: str | None = None) -> None:
        """Delete a letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        by = None if by is None else check_by(by)
        with self._backend.reaching("the dead letter may or may not be dropped; drop it again"):
            self._backend.dead.drop(letter_id)
        if by is not None:
            self._tell(EventKind.DROPPED, f"dead letter {letter_id} is dropped", [Lane.of_job(letter_id)], by)

    def requeue_each(self, letter_ids: Iterable[str], *, by: str | None = None) -> Generator[LetterAct, None, None]:
        """Requeue letters one after another; yield what became of each. A letter that fails does not stop the rest."""
        return self._each(self._requeue_act, letter_ids, check_by(by))

    def drop_each(self, letter_ids: Iterable[str], *, by: str | None = None) -> Generator[LetterAct, None, None]:
        """Drop letters one after another; yield what became of each. A letter that fails does not stop the rest."""
        return self._each(self._drop_act, letter_ids, check_by(by))

    def requeue_matching(
        self,
        matching: Matching = _ALL,
        *,
        dry_run: bool = False,
        by: str | None = None,
        lasting: float | timedelta | None = None,
        progress: Callable[[LetterCounts], None] | None = None,
    ) -> LetterCounts:
        """Requeue the letters that match; return how many. With `dry_run` nothing is changed.

        The work is done in steps of at most 200 letters; `progress` is called after each. What was done before an error
        stays done, and the act can be repeated: no letter is requeued twice. Letters that die meanwhile stay;
        with ``Matching(died_by=counts.at)`` those that died since a dry run stay too. After `lasting` (s) the act ends
        with the step, and ``more`` of the counts is true if letters are left.
        """
        return _last(self._requeueing(matching, dry_run=dry_run, by=by, lasting=lasting), progress)

    def drop_matching(
        self,
        matching: Matching = _ALL,
        *,
        dry_run: bool = False,
        by: str | None = None,
        lasting: float | timedelta | None = None,
        progress: Callable[[LetterCounts], None] | None = None,
    ) -> LetterCounts:
        """Drop the letters that match; return how many. Steps, `dry_run` and `lasting` as for requeueing."""
        return _last(self._dropping(matching, dry_run=dry_run, by=by, lasting=lasting), progress)

    @property
    def _requeue_act(self) -> _Act:
        return _Act(EventKind.REQUEUED, self.requeue, needs_command=True)

    @property
    def _drop_act(self) -> _Act:
        return _Act(EventKind.DROPPED, self.drop)

    def _requeueing(
        self, matching: Matching, *, dry_run: bool, by: str | None, lasting: float | timedelta | None
    ) -> Generator[LetterCounts, None, None]:
        return self._acting(
            self._requeue_act, matching, check_by(by), dry_run=dry_run, limit=wait_duration(lasting, "lasting")
        )

    def _dropping(
        self, matching: Matching, *, dry_run: bool, by: str | None, lasting: float | timedelta | None
    ) -> Generator[LetterCounts, None, None]:
        return self._acting(
            self._drop_act, matching, check_by(by), dry_run=dry_run, limit=wait_duration(lasting, "lasting")
        )

    def _acting(
        self, act: _Act, matching: Matching, by: str, *, dry_run: bool, limit: timedelta | None
    ) -> Generator[LetterCounts, None, None]:
        """Yield what is done so far, after each page of letters, and at the end; at least once."""
        ends_at = math.inf if limit is None else time.monotonic() + limit.total_seconds()
        with self._backend.following("the dead letters could not be read"), self._told(act.kind, by) as lanes:
            counts = LetterCounts(at=self._backend.now(), dry_run=dry_run)
            matching = replace(matching, died_by=min(counts.at, matching.died_by or counts.at))
            for number, page in enumerate(self._backend.dead.pages(matching)):
                if number and time.monotonic() >= ends_at:
                    counts = counts.model_copy(update={"more": True})
                    break
                done, problems = [], []
                for letter in page:
                    if act.needs_command and letter.command is None:
                        problems.append(no_command(letter))
                    elif not dry_run and (problem := _try(act, letter.id, lanes).problem) is not None:
                        problems.append(problem)
                    else:
                        done.append(letter)
                counts = counts.plus(done, problems)
                yield counts
        yield counts

    def _each(self, act: _Act, letter_ids: Iterable[str], by: str) -> Generator[LetterAct, None, None]:
        with self._told(act.kind, by) as lanes:
            for letter_id in letter_ids:
                yield _try(act, letter_id, lanes)

    @contextmanager
    def _told(self, kind: EventKind, by: str) -> Iterator["Counter[Lane | None]"]:
        """Add one event of all letters that the block counts, by their lanes."""
        lanes: Counter[Lane | None] = Counter()
        try:
            yield lanes
        finally:
            if count := lanes.total():
                text = f"{count} dead letter{' is' if count == 1 else 's are'} {kind.value}"
                self._tell(kind, text, lanes, by)

    def _tell(self, kind: EventKind, text: str, lanes: Iterable[Lane | None], by: str) -> None:
        """Add an event: of the account and the operation that all of `lanes` have."""
        accounts = {None if lane is None else lane.account for lane in lanes}
        operations = {None if lane is None else lane.operation for lane in lanes}
        with suppress(StreamstopError), self._backend.reaching("the act is not among the events"):
            self._backend.journal.add(kind, text, account=_only(accounts), operation=_only(operations), by=by)


def _try(act: _Act, letter_id: str, lanes: "Counter[Lane | None]") -> LetterAct:
    """Requeue or drop one letter, and count its lane; say why if that cannot be."""
    try:
        job = act.call(letter_id)
    except (UnknownDeadLetter, NotRequeueable) as problem:
        return LetterAct(letter_id, problem=str(problem))
    lanes[Lane.of_job(letter_id if job is None else job.id)] += 1
    return LetterAct(letter_id, job)


def _last(steps: Generator[LetterCounts, None, None], progress: Callable[[LetterCounts], None] | None) -> LetterCounts:
    with closing(steps):
        for counts in steps:
            if progress is not None:
                progress(counts)
    return counts


def _only(values: set[_T]) -> _T | None:
    return next(iter(values)) if len(values) == 1 else None
