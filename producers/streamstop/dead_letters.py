"""Dead letters: the handle for the people on call."""

from collections.abc import Iterator, Mapping

from streamstop._core.backend import Backend
from streamstop._core.letters import DeadLetter, Matching
from streamstop.jobs import Job
from streamstop.outcomes import Result

_ALL = Matching()


class DeadLetters:
    """Jobs that ended ``refused``, ``not_found``, ``gave_up``, ``expired`` or ``not_verified``; unreadable messages.

    ::

        dead = client.dead_letters
        for letter in dead.letters(Matching(account="live-cn", code="Forbidden.RAM")):
            dead.requeue(letter.id)

    A letter is kept until it is requeued or dropped. Beyond 100,000 letters, the oldest are deleted. Every method
    raises :class:`~streamstop.errors.QueueUnavailable` if Redis does not answer.
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

    def letters(self, matching: Matching = _ALL) -> Iterator[DeadLetter]:
        """Yield the letters that match, oldest first. They can be requeued and dropped meanwhile."""
        with self._backend.following("the dead letters could not be read"):
            yield from self._backend.dead.letters(matching)

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter; its id is the job's id. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        with self._backend.reaching("the dead letter could not be read"):
            return self._backend.dead.get(letter_id)

    def requeue(self, letter_id: str) -> Job:
        """Enqueue the command of a letter again, as a new job. This deletes the letter, so it cannot happen twice.

        The job has no expiry. If it was part of a shutdown, its stream task is open there again. Raises
        :class:`~streamstop.errors.UnknownDeadLetter`, also if another call has requeued or dropped the letter, and
        :class:`~streamstop.errors.NotRequeueable` if the message holds no command.
        """
        with self._backend.reaching("it may or may not be requeued; requeue it again, it cannot double"):
            return Job(self._backend.dead.requeue(letter_id), self._backend)

    def drop(self, letter_id: str) -> None:
        """Delete a letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        with self._backend.reaching("the dead letter may or may not be dropped; drop it again"):
            self._backend.dead.drop(letter_id)
