"""Recorded dead letters: the dead letters of a :class:`~streamstop.testing.RecordingClient`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from streamstop._core.commands import Command
from streamstop._core.letters import DeadLetter, Matching, Position, position_of
from streamstop.errors import UnknownDeadLetter
from streamstop.outcomes import Outcome, Result


class RecordedDeadLetters:
    """See :class:`~streamstop._core.backend.DeadLetterBackend`. A requeued job does not rejoin its shutdown."""

    def __init__(self, enqueue: Callable[[Command], str]) -> None:
        self._enqueue = enqueue
        self._letters: dict[str, tuple[DeadLetter, Command]] = {}

    def keep(self, outcome: Outcome, command: Command, room: str | None = None) -> None:
        """Keep a dead letter of a job if its outcome needs a person."""
        if outcome.result.needs_person:
            now = datetime.now(UTC)
            letter = DeadLetter(
                id=outcome.job_id,
                account=outcome.account,
                operation=outcome.operation,
                died_at=outcome.ended_at or now,
                room=room,
                outcome=outcome,
                command=command.to_message(now=now),
            )
            self._letters[letter.id] = (letter, command)

    def count(self) -> int:
        """Return how many letters there are."""
        return len(self._letters)

    def count_by_result(self) -> dict[Result | None, int]:
        """Return how many letters there are of each result."""
        return dict(Counter(letter.result for letter, _ in self._letters.values()))

    def pages(self, matching: Matching, after: Position | None = None) -> Iterator[Iterable[DeadLetter]]:
        """Yield one page: the letters that match."""
        yield list(self.letters(matching, after))

    def letters(self, matching: Matching, after: Position | None = None) -> Iterator[DeadLetter]:
        """Yield the letters that match, oldest first, from the one behind `after` on."""
        now = datetime.now(UTC)
        for letter in sorted((kept for kept, _ in self._letters.values()), key=position_of):
            age = now - letter.died_at
            too_young = matching.older_than is not None and age < matching.older_than
            too_old = matching.younger_than is not None and age > matching.younger_than
            too_late = matching.died_by is not None and letter.died_at > matching.died_by
            is_behind = after is None or position_of(letter) > after
            if is_behind and matching.fits(letter) and not (too_young or too_old or too_late):
                yield letter

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter."""
        if letter_id not in self._letters:
            raise UnknownDeadLetter(letter_id)
        return self._letters[letter_id][0]

    def requeue(self, letter_id: str) -> str:
        """Enqueue the command of a letter again, without its expiry; return the new job's id."""
        command = self._take(letter_id)
        return self._enqueue(Command(operation=command.operation, account=command.account, priority=command.priority))

    def drop(self, letter_id: str) -> None:
        """Delete a letter."""
        self._take(letter_id)

    def _take(self, letter_id: str) -> Command:
        letter = self._letters.pop(letter_id, None)  # of two threads, only one gets it
        if letter is None:
            raise UnknownDeadLetter(letter_id)
        return letter[1]
