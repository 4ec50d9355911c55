"""Ends: the closed set of ways in which a worker lets go of a delivery, and what of them Celery is told. Pure.

A worker decides one :data:`Ending` for each delivery. :mod:`streamstop_worker.pipeline.conclude` reports it to Redis.
What Redis has taken down is an :data:`End`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.vendors.protocol import Answer

#: How long a job waits whose account this worker does not have, and another has.
ELSEWHERE = timedelta(seconds=1)
#: How long a job waits for a worker that knows more than this one, at a time and in all.
NEWER = timedelta(seconds=5)
LONGEST_LEFT = timedelta(minutes=10)


@dataclass(frozen=True)
class Finish:
    """The job has ended."""

    result: Result
    history: AttemptHistory
    call: LastCall
    answer: Answer


@dataclass(frozen=True)
class Done:
    """A step of a shutdown is done, or given up."""

    step: str


@dataclass(frozen=True)
class Retry:
    """The job waits in Redis for `delay`, then in its lane again."""

    delay: timedelta
    history: AttemptHistory
    reason: str
    call: LastCall = LastCall.NONE
    #: The vendor's, where it is the reason.
    answer: Answer | None = None


@dataclass(frozen=True)
class Throttle:
    """The job waits at the front of its lane, and the lane rests: for `hint`, where the vendor gave one."""

    hint: timedelta | None
    history: AttemptHistory
    answer: Answer


@dataclass(frozen=True)
class GiveBack:
    """The job was not called, and waits at the front of its lane."""


Ending = Finish | Done | Retry | Throttle | GiveBack


class GivenBack:
    """The job is back in its lane, uncalled or throttled, or it is another worker's by now."""


@dataclass(frozen=True)
class StepDone:
    """A step of a shutdown is done, or given up."""

    step: str


#: What became of a delivery: the job or the step has ended, or is called again later, or it is no longer this worker's.
End = Outcome | StepDone | Deferral | GivenBack


def uncalled(result: Result, history: AttemptHistory, reason: str) -> Finish:
    """Return the end of a job that is not called, and why."""
    return Finish(result, history, LastCall.NONE, Answer(None, message=reason))


def left(history: AttemptHistory, problem: str, now: datetime) -> Retry | None:
    """Return how a job waits for a worker that knows more; None where none has come in ten minutes."""
    now_s = int(now.timestamp())
    since_s = history.left or now_s
    if now_s - since_s > LONGEST_LEFT.total_seconds():
        return None
    return Retry(NEWER, replace(history, left=since_s), f"left to another worker: {problem}")
