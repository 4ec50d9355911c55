"""Jobs and dead letters from asyncio: handles of :class:`~streamstop.aio.AsyncClient`."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice

from streamstop._core.letters import DeadLetter, LetterCounts, Matching, Position
from streamstop._core.runner import Runner
from streamstop._core.sightings import JobView
from streamstop.dead_letters import DeadLetters, LetterAct
from streamstop.errors import OutcomeTimeout
from streamstop.jobs import Job
from streamstop.outcomes import Deferral, Outcome, Result

#: How many dead letters one step to a thread brings.
_PAGE = 100
_ALL = Matching()


@dataclass(frozen=True)
class AsyncJob:
    """A command in the queue; see :class:`~streamstop.client.Job`."""

    job: Job
    _runner: Runner

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    async def outcome(self, timeout: float | timedelta | None = None) -> Outcome:
        """Wait until the job has ended; see :meth:`streamstop.client.Job.outcome`."""
        steps = self.job._waiting(timeout)  # noqa: SLF001
        async with aclosing(self._runner.iterate(steps)) as outcomes:
            async for outcome in outcomes:
                return outcome
        raise OutcomeTimeout(f"job {self.id} has no outcome yet")

    async def exists(self) -> bool:
        """See :meth:`streamstop.client.Job.exists`."""
        return await self._runner.call(self.job.exists)

    async def look(self) -> JobView | None:
        """See :meth:`streamstop.client.Job.look`."""
        return await self._runner.step(self.job.look)  # it can search a whole lane

    async def peek(self) -> Outcome | Deferral | None:
        """See :meth:`streamstop.client.Job.peek`."""
        return await self._runner.call(self.job.peek)

    async def cancel(self, *, by: str | None = None) -> Outcome:
        """See :meth:`streamstop.client.Job.cancel`."""
        return await self._runner.call(partial(self.job.cancel, by=by))


@dataclass(frozen=True)
class AsyncDeadLetters:
    """What ended so that a person must look; see :class:`~streamstop.dead_letters.DeadLetters`."""

    _dead_letters: DeadLetters
    _runner: Runner

    async def count_by_result(self) -> Mapping[Result | None, int]:
        """See :meth:`streamstop.dead_letters.DeadLetters.count_by_result`."""
        return await self._runner.call(self._dead_letters.count_by_result)

    async def count(self) -> int:
        """See :meth:`streamstop.dead_letters.DeadLetters.count`."""
        return await self._runner.call(self._dead_letters.count)

    async def letters(
        self, matching: Matching = _ALL, *, after: Position | None = None
    ) -> AsyncGenerator[DeadLetter, None]:
        """See :meth:`streamstop.dead_letters.DeadLetters.letters`."""
        letters = self._dead_letters.letters(matching, after=after)
        while page := await self._runner.step(lambda: list(islice(letters, _PAGE))):
            for letter in page:
                yield letter

    async def get(self, letter_id: str) -> DeadLetter:
        """See :meth:`streamstop.dead_letters.DeadLetters.get`."""
        return await self._runner.call(partial(self._dead_letters.get, letter_id))

    async def requeue(self, letter_id: str, *, by: str | None = None) -> AsyncJob:
        """See :meth:`streamstop.dead_letters.DeadLetters.requeue`."""
        return AsyncJob(await self._runner.call(partial(self._dead_letters.requeue, letter_id, by=by)), self._runner)

    async def drop(self, letter_id: str, *, by: str | None = None) -> None:
        """See :meth:`streamstop.dead_letters.DeadLetters.drop`."""
        await self._runner.call(partial(self._dead_letters.drop, letter_id, by=by))

    async def requeue_each(
        self, letter_ids: Iterable[str], *, by: str | None = None
    ) -> AsyncGenerator[LetterAct, None]:
        """See :meth:`streamstop.dead_letters.DeadLetters.requeue_each`."""
        async with aclosing(self._runner.iterate(self._dead_letters.requeue_each(letter_ids, by=by))) as acts:
            async for act in acts:
                yield act

    async def drop_each(self, letter_ids: Iterable[str], *, by: str | None = None) -> AsyncGenerator[LetterAct, None]:
        """See :meth:`streamstop.dead_letters.DeadLetters.drop_each`."""
        async with aclosing(self._runner.iterate(self._dead_letters.drop_each(letter_ids, by=by))) as acts:
            async for act in acts:
                yield act

    async def requeue_matching(
        self,
        matching: Matching = _ALL,
        *,
        dry_run: bool = False,
        by: str | None = None,
        lasting: float | timedelta | None = None,
        progress: Callable[[LetterCounts], None] | None = None,
    ) -> LetterCounts:
        """See :meth:`streamstop.dead_letters.DeadLetters.requeue_matching`."""
        steps = self._dead_letters._requeueing(matching, dry_run=dry_run, by=by, lasting=lasting)  # noqa: SLF001
        return await self._last(steps, progress)

    async def drop_matching(
        self,
        matching: Matching = _ALL,
        *,
        dry_run: bool = False,
        by: str | None = None,
        lasting: float | timedelta | None = None,
        progress: Callable[[LetterCounts], None] | None = None,
    ) -> LetterCounts:
        """See :meth:`streamstop.dead_letters.DeadLetters.drop_matching`."""
        steps = self._dead_letters._dropping(matching, dry_run=dry_run, by=by, lasting=lasting)  # noqa: SLF001
        return await self._last(steps, progress)

    async def _last(
        self, steps: Generator[LetterCounts, None, None], progress: Callable[[LetterCounts], None] | None
    ) -> LetterCounts:
        async with aclosing(self._runner.iterate(steps)) as acting:
            async for counts in acting:
                if progress is not None:
                    progress(counts)
        return counts
