"""Dead letters: the handle for the people on call."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from streamstop._core.backend import Backend
from streamstop._core.controls import check_by
from streamstop._core.journal import EventKind
from streamstop._core.lane import Lane
from streamstop._core.letters import DeadLetter, LetterCounts, Matching, Position, no_command
from streamstop.errors import NotRequeueable, StreamstopError, UnknownDeadLetter
from streamstop.jobs import Job
from streamstop.outcomes import Result

_T = TypeVar("_T")

_ALL = Matching()
#: How many letters one step of a bulk act handles, and one step of a dry run.
_STEP, _DRY_STEP = 100, 1000


@dataclass(frozen=True)
class LetterAct:
    """What became of one letter in a bulk act."""

    letter_id: str
    #: The new job of a letter that was requeued.
    job: Job | None = None
    #: Why the letter is neither requeued nor dropped.
    problem: str | None = None


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
            yield from self._backend.dead.letters(matching, after)

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
        return self._each(EventKind.REQUEUED, self.requeue, letter_ids, check_by(by))

    def drop_each(self, letter_ids: Iterable[str], *, by: str | None = None) -> Generator[LetterAct, None, None]:
        """Drop letters one after another; yield what became of each. A letter that fails does not stop the rest."""
        return self._each(EventKind.DROPPED, self.drop, letter_ids, check_by(by))

    def requeue_matching(
        self,
        matching: Matching = _ALL,
        *,
        dry_run: bool = False,
        by: str | None = None,
        progress: Callable[[LetterCounts], None] | None = None,
    ) -> LetterCounts:
        """Requeue the letters that match; return how many. With `dry_run` nothing is changed.

        The work is done in steps of 100 letters (a dry run: 1,000); `progress` is called after each. What was done
        before an error stays done, and the act can be repeated: no letter is requeued twice.
        """
        return _last(self._requeueing(matching, dry_run=dry_run, by=by), progress)

    def drop_matching(
        self,
        matching: Matching = _ALL,
        *,
        dry_run: bool = False,
        by: str | None = None,
        progress: Callable[[LetterCounts], None] | None = None,
    ) -> LetterCounts:
        """Drop the letters that match; return how many. With `dry_run` nothing is changed. In steps as requeueing."""
        return _last(self._dropping(matching, dry_run=dry_run, by=by), progress)

    def _requeueing(self, matching: Matching, *, dry_run: bool, by: str | None) -> Generator[LetterCounts, None, None]:
        by = check_by(by)
        return self._acting(
            matching, None if dry_run else lambda ids: self.requeue_each(ids, by=by), needs_command=True
        )

    def _dropping(self, matching: Matching, *, dry_run: bool, by: str | None) -> Generator[LetterCounts, None, None]:
        by = check_by(by)
        return self._acting(matching, None if dry_run else lambda ids: self.drop_each(ids, by=by))

    def _acting(
        self,
        matching: Matching,
        act: Callable[[Iterable[str]], Generator[LetterAct, None, None]] | None,
        *,
        needs_command: bool = False,
    ) -> Generator[LetterCounts, None, None]:
        """Yield what is done so far, after each step, and at the end; at least once. `act` None: a dry run."""
        counts = LetterCounts(dry_run=act is None)
        reading: list[DeadLetter] = []

        def ids() -> Iterator[str]:
            for letter in self.letters(matching):
                reading.append(letter)
                yield letter.id

        acts = _pretended(ids(), reading, needs_command=needs_command) if act is None else act(ids())
        with closing(acts):  # the event is added where the act ends
            while page := list(islice(acts, _DRY_STEP if act is None else _STEP)):
                problems = {done.letter_id: done.problem for done in page if done.problem is not None}
                done = [letter for letter in reading if letter.id not in problems]
                counts = counts.plus(done, problems.values())
                reading.clear()
                yield counts
        yield counts

    def _each(
        self, kind: EventKind, act: Callable[[str], Job | None], letter_ids: Iterable[str], by: str
    ) -> Generator[LetterAct, None, None]:
        lanes: Counter[Lane | None] = Counter()
        try:
            for letter_id in letter_ids:
                try:
                    job = act(letter_id)
                except (UnknownDeadLetter, NotRequeueable) as problem:
                    yield LetterAct(letter_id, problem=str(problem))
                else:
                    lanes[Lane.of_job(letter_id if job is None else job.id)] += 1
                    yield LetterAct(letter_id, job)
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


def _pretended(
    letter_ids: Iterator[str], letters: list[DeadLetter], *, needs_command: bool
) -> Generator[LetterAct, None, None]:
    for letter_id in letter_ids:
        lacks_command = needs_command and letters[-1].command is None
        yield LetterAct(letter_id, problem=no_command(letters[-1]) if lacks_command else None)


def _last(steps: Generator[LetterCounts, None, None], progress: Callable[[LetterCounts], None] | None) -> LetterCounts:
    with closing(steps):
        for counts in steps:
            if progress is not None:
                progress(counts)
    return counts


def _only(values: set[_T]) -> _T | None:
    return next(iter(values)) if len(values) == 1 else None
