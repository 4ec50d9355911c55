"""Names of lanes, of their keys in Redis, and of jobs.

Whoever holds a job's id knows its lane: ``<account>.<product>.<Action>.<unique>``.
"""

from dataclasses import dataclass
from typing import Self
from uuid import uuid4

#: The one queue that workers consume; nothing lies in it: a worker takes jobs out of the lanes.
QUEUE = "streamstop"
#: Sorted set: a lane -> the earliest moment (µs, by Redis' clock) at which it could give a job.
SCHEDULE = "streamstop.schedule"
#: Set of lanes into which a producer has put jobs since a worker last looked.
ARRIVALS = "streamstop.arrivals"
#: List of at most one token: an idle worker waits for it, and looks at the arrivals and the schedule.
WAKE = "streamstop.wake"
#: Sorted set: a lane with jobs in flight -> a moment (µs) no later than the end of its first lease.
LEASED = "streamstop.work.leased"
#: The moment (µs) of the last sweep.
SWEPT = "streamstop.work.swept"
#: List of the ids of accepted batches whose messages are not all in their lanes yet.
BATCHES = "streamstop.batches"
#: Begins the names of the books: hashes of the accounts that a worker has, and of the paces of their lanes.
BOOK = "streamstop.work.book."
#: Begins the names of the lists that hold a batch's messages.
BATCH = "streamstop.batch."
#: The one queue that workers consumed before; still read once, so that what it holds is not lost in an upgrade.
READY = "streamstop.ready"
#: The set of lanes that hold anything, as versions before kept it.
LANES = "streamstop.lanes"
#: The sorted set of the dead letters' ids; each letter is the hash ``streamstop.dead.<id>``.
DEAD = "streamstop.dead"
#: The sorted set of the accounts that running workers have, by the moment they were last seen.
ACCOUNTS = "streamstop.accounts"

#: Celery's message priorities on Redis, first to last: a list each, named by kombu's rule.
PRIORITY_STEPS = (0, 3, 6, 9)
#: Begins the names of the lists in which jobs wait: all of a lane that producers write.
_QUEUE = "streamstop.lane."
#: Begins the names of what only workers write: Redis' access rules tell the two apart by it.
_WORK = "streamstop.work."
_PRIORITY_SEPARATOR = "\x06\x16"


def result_key(job_id: str) -> str:
    """Return the key of a job's record in Celery's result backend; also the channel where it is published."""
    return f"celery-task-meta-{job_id}"


@dataclass(frozen=True, order=True)
class Lane:
    """Account and operation: the unit of routing, pacing, pausing and fairness."""

    account: str
    operation: str

    @property
    def name(self) -> str:
        """``<account>.<product>.<Action>``."""
        return f"{self.account}.{self.operation}"

    @property
    def queue(self) -> str:
        """The Celery queue in which the lane's jobs wait."""
        return f"{_QUEUE}{self.name}"

    @property
    def waiting(self) -> tuple[str, ...]:
        """The queue's lists, one a priority."""
        first, *rest = PRIORITY_STEPS
        assert first == 0  # kombu gives priority 0 the queue's own name  # noqa: S101
        return (self.queue, *(f"{self.queue}{_PRIORITY_SEPARATOR}{step}" for step in rest))

    @property
    def leases(self) -> str:
        """The sorted set of its jobs in flight, by the end of their leases."""
        return f"{_WORK}{self.name}:leases"

    @property
    def due(self) -> str:
        """The sorted set of its jobs that are to be tried again, by their moment."""
        return f"{_WORK}{self.name}:due"

    @property
    def pace(self) -> str:
        """The hash of its pace."""
        return f"{_WORK}{self.name}:pace"

    @property
    def jobs(self) -> str:
        """The hash of its jobs in flight, and of those that are to be tried again."""
        return f"{_WORK}{self.name}:jobs"

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is its own."""
        return (*self.waiting, self.leases, self.jobs, self.due, self.pace)

    def new_job_id(self) -> str:
        """Return the id of a new job in this lane."""
        return f"{self.name}.{uuid4().hex}"

    @classmethod
    def of_job(cls, job_id: str) -> Self | None:
        """Return the lane that `job_id` names, or None if it is not an id of ours."""
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
