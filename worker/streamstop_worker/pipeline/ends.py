"""Ends: the closed set of ways in which the handling of a delivery can end. Pure.

A worker decides one :data:`Ending` for each delivery. :mod:`streamstop_worker.pipeline.conclude` reports it to Redis.
An :data:`End` is what Redis has recorded; Celery's events and signals follow it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.vendors.protocol import Answer

#: How long a job waits if another worker has its account, and this one does not.
OTHER_ACCOUNT_DELAY = timedelta(seconds=1)
#: How long a job waits, each time and in all, for a worker that can serve it if no running one can.
NO_WORKER_DELAY = timedelta(seconds=5)
LONGEST_LEFT = timedelta(minutes=10)


@dataclass(frozen=True)
class Finish:
    """The job has ended."""

    result: Result
    history: AttemptHistory
    call: LastCall
    answer: Answer
    #: The vendor refused the account's key: if that holds the account, the job waits again with this history.
    if_held: AttemptHistory | None = None


@dataclass(frozen=True)
class Done:
    """A step of a shutdown is done, or was given up."""

    step: str


@dataclass(frozen=True)
class Retry:
    """The job waits in Redis for `delay`, and then in its lane again."""

    delay: timedelta
    history: AttemptHistory
    reason: str
    call: LastCall = LastCall.NONE
    #: The vendor's answer, if it is the reason.
    answer: Answer | None = None


@dataclass(frozen=True)
class Throttle:
    """The job waits at the front of its lane, and the lane rests: for `hint`, if the vendor gave one."""

    hint: timedelta | None
    history: AttemptHistory
    answer: Answer


@dataclass(frozen=True)
class GiveBack:
    """The job was not called and waits at the front of its lane."""


Ending = Finish | Done | Retry | Throttle | GiveBack


class GivenBack:
    """The job is back in its lane, not called or throttled, or another worker has taken it."""


@dataclass(frozen=True)
class StepDone:
    """A step of a shutdown is done, or was given up."""

    step: str


#: The job or the step has ended, or is called again later, or is no longer this worker's.
End = Outcome | StepDone | Deferral | GivenBack


def end_without_call(result: Result, history: AttemptHistory, reason: str) -> Finish:
    """Return the end of a job that is not called, with the reason as its message."""
    return Finish(result, history, LastCall.NONE, Answer(None, message=reason))


def leave_to_another_worker(history: AttemptHistory, problem: str, now: datetime) -> Retry | None:
    """Return how a job waits for a worker that can serve it. None: it has waited for ten minutes already."""
    now_s = int(now.timestamp())
    since_s = history.left or now_s
    if now_s - since_s > LONGEST_LEFT.total_seconds():
        return None
    return Retry(NO_WORKER_DELAY, replace(history, left=since_s), f"left to another worker: {problem}")
