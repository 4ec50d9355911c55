"""Dead letters, as the people on call hold them."""

from collections.abc import Iterator

from streamstop._core.backend import Backend
from streamstop._core.letters import DeadLetter, Matching
from streamstop.jobs import Job

_ALL = Matching()


class DeadLetters:
    """What ended ``refused``, ``not_found``, ``gave_up``, ``expired`` or ``not_verified``, and what nobody could read.

    ::

        dead = client.dead_letters
        for letter in dead.letters(Matching(account="live-cn", code="Forbidden.RAM")):
            dead.requeue(letter.id)

    A letter is kept until it is requeued or dropped; of more than 100,000 the oldest go. Every method raises
    :class:`~streamstop.errors.QueueUnavailable` where Redis does not answer.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def count(self) -> int:
        """Return how many letters there are."""
        with self._backend.reaching("the dead letters could not be counted"):
            return self._backend.dead.count()

    def letters(self, matching: Matching = _ALL) -> Iterator[DeadLetter]:
        """Yield the letters that fit, oldest first. They can be requeued and dropped meanwhile."""
        with self._backend.following("the dead letters could not be read"):
            yield from self._backend.dead.letters(matching)

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter; its id is the job's. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        with self._backend.reaching("the dead letter could not be read"):
            return self._backend.dead.get(letter_id)

    def requeue(self, letter_id: str) -> Job:
        """Enqueue the command of a letter again, as a new job; the letter is gone then, so that it cannot double.

        It is sent whatever expiry it had. In its shutdown, if it was part of one, the stream task is open again.
        Raises :class:`~streamstop.errors.UnknownDeadLetter`, also where somebody else was faster, and
        :class:`~streamstop.errors.NotRequeueable` where the message holds no command.
        """
        with self._backend.reaching("it may or may not be requeued; requeue it again, it cannot double"):
            return Job(self._backend.dead.requeue(letter_id), self._backend)

    def drop(self, letter_id: str) -> None:
        """Forget a letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        with self._backend.reaching("the dead letter may or may not be dropped; drop it again"):
            self._backend.dead.drop(letter_id)
