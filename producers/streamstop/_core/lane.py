"""Lane: its name, its keys in Redis, and the ids of its jobs.

A job's id contains the name of its lane: ``<account>.<product>.<Action>.<unique>``.
"""

from dataclasses import dataclass
from os import urandom
from typing import Self

from streamstop._core.constants import LANE, PRIORITY_SEPARATOR, RESULT, WORK

#: The queue that workers consume. It is always empty: a worker takes its jobs from the lanes.
QUEUE = "streamstop"
#: Celery's message priorities on Redis, first to last. Each has a list, named by kombu's rule.
PRIORITY_STEPS = (0, 3, 6, 9)


def result_key(job_id: str) -> str:
    """Return the key of a job's record in Celery's result backend. It is also the channel that publishes the record."""
    return f"{RESULT}{job_id}"


@dataclass(frozen=True, order=True)
class Lane:
    """An account and an operation: the unit of routing, pacing, throttling and fairness."""

    account: str
    operation: str

    @property
    def name(self) -> str:
        """``<account>.<product>.<Action>``."""
        return f"{self.account}.{self.operation}"

    @property
    def queue(self) -> str:
        """The Celery queue in which the lane's jobs wait."""
        return f"{LANE}{self.name}"

    @property
    def waiting(self) -> tuple[str, ...]:
        """The queue's lists, one for each priority."""
        first, *rest = PRIORITY_STEPS
        assert first == 0  # kombu gives priority 0 the queue's own name  # noqa: S101
        return (self.queue, *(f"{self.queue}{PRIORITY_SEPARATOR}{step}" for step in rest))

    @property
    def leases(self) -> str:
        """The sorted set of the jobs in flight, by the end of their leases."""
        return f"{WORK}{self.name}:leases"

    @property
    def due(self) -> str:
        """The sorted set of the deferred jobs, by the moment at which they wait again."""
        return f"{WORK}{self.name}:due"

    @property
    def pace(self) -> str:
        """The hash of the lane's pace."""
        return f"{WORK}{self.name}:pace"

    @property
    def jobs(self) -> str:
        """The hash of the jobs in flight and of the deferred jobs."""
        return f"{WORK}{self.name}:jobs"

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key of this lane alone."""
        return (*self.waiting, self.leases, self.jobs, self.due, self.pace)

    def new_job_id(self) -> str:
        """Return the id of a new job in this lane."""
        # Not an UUID: some of its bits are constant, and samplers of traces compare this number with their ratio.
        return f"{self.name}.{urandom(16).hex()}"

    @classmethod
    def of_job(cls, job_id: str) -> Self | None:
        """Return the lane in `job_id`, or None if streamstop did not make the id."""
        match job_id.split("."):
            case [account, product, action, unique] if account and product and action and unique:
                return cls(account, f"{product}.{action}")
            case _:
                return None

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Return the lane called `name`."""
        account, _, operation = name.partition(".")
        return cls(account, operation)
