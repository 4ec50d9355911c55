"""Ends: what becomes of a delivery, and for how long a job is left to a worker that knows more."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from streamstop.lanes import Tries
from streamstop.outcomes import Outcome
from streamstop.results import Deferral

#: How long a job waits whose account this worker does not have, and another has.
ELSEWHERE = timedelta(seconds=1)
#: How long a job waits for a worker that knows more than this one, at a time and in all.
NEWER = timedelta(seconds=5)
LONGEST_LEFT = timedelta(minutes=10)


class GivenBack:
    """The job is back in its lane, uncalled or throttled, or it is another worker's by now."""


@dataclass(frozen=True)
class StepDone:
    """A step of a shutdown is done, or given up."""

    step: str


#: What became of a delivery: the job or the step has ended, or is called again later, or it is no longer this worker's.
End = Outcome | StepDone | Deferral | GivenBack


def left(tries: Tries, problem: str, now: datetime) -> tuple[Deferral | None, Tries]:
    """Return how a job waits for a worker that knows more, and its history; None where none has come in ten minutes."""
    now_s = int(now.timestamp())
    since_s = tries.left or now_s
    if now_s - since_s > LONGEST_LEFT.total_seconds():
        return None, tries
    return Deferral(f"left to another worker: {problem}", now + NEWER), replace(tries, left=since_s)
