"""Bugs: what becomes of a job whose handling met an error that nobody expected, or that Redis fails over.

The job is given back once, for another worker may not meet the bug. The second time it becomes a dead letter. So the
vendor is called twice at most. An end that was decided is recorded at once, without what Redis fails over.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from streamstop._core.lane import Lane
from streamstop._core.lane_types import DeadLetterRecord
from streamstop._core.letters import dead_letter_record
from streamstop._redis.errors import bug, is_unreachable, reason
from streamstop._wire.reports import Ended, Released, Report
from streamstop._wire.results import outcome_record
from streamstop.outcomes import Outcome, Result
from streamstop_worker.pipeline.conclude import Handling, Reporting, ended_of, outcome_of
from streamstop_worker.pipeline.ends import End, GivenBack, uncalled
from streamstop_worker.shutdowns.verify import member_result_of

#: How often a job's handling may meet a bug before the job is set aside.
MOST_BUGS = 2
#: What is logged of each, with the traceback and what became of the job.
EVENT = "this is a bug in streamstop"


@dataclass(frozen=True)
class _Way:
    """One way to let go of a job. It may meet a bug too: the next one asks less of Redis."""

    became: str
    report: Callable[[], Report]
    end: End


def tell(log: Any, error: Exception, *, unreachable: str, became: str, **what: object) -> None:
    """Log an error that nobody else hears of: as the event `unreachable`, or as a bug with its traceback."""
    if is_unreachable(error):
        log.warning(unreachable, reason=reason(error), **what)
    else:
        log.error(EVENT, became=became, bug=bug(error), exc_info=error, **what)


def tell_broken(log: Any, lanes: Mapping[Lane, str]) -> None:
    """Log the lanes whose keys Redis fails over, each with its error. The others go on."""
    for lane, error in lanes.items():
        log.error("Redis fails over a lane's keys; it is tried again in a second", lane=lane.name, error=error)


async def contain(job: Handling, error: Exception, report: Reporting, kept: timedelta) -> End:
    """Let go of a job whose handling met `error`, and log that once. Return what Redis has taken down.

    Raises the errors of a Redis that is unreachable; the job's lease mends what they leave.
    """
    became, end = "left to its lease: Redis fails over the keys of its lane", None
    try:
        for way in _ways(job, error, kept):
            try:
                rest = await report(way.report())
            except Exception as another:
                if is_unreachable(another):
                    became = "left to its lease: Redis cannot be reached"
                    raise
            else:
                became, end = (way.became, way.end) if rest is not None else ("another worker's by now", None)
                break
    finally:
        job.log.error(EVENT, became=became, bug=bug(error), bugs=job.history.bugs + 1, exc_info=error)
    return GivenBack() if end is None else end


def _ways(job: Handling, error: Exception, kept: timedelta) -> Iterator[_Way]:
    """Yield the ways to let go of a job, the best first."""
    history = replace(job.history, bugs=job.history.bugs + 1)
    # A slot that was used is not given to another job.
    taken = replace(job.delivery.taken, slot_us=0) if job.is_called else job.delivery.taken
    named = f"{EVENT}: {bug(error)}"

    def bare(outcome: Outcome) -> Ended:
        return Ended(job=taken, send_delay=job.send_delay, record=outcome_record(outcome), kept=kept)

    if job.outcome is not None:
        decided = job.outcome
        if job.membership is not None:
            uncounted = f"{named}: it ended {decided.result.value}, and its shutdown could not count it"
            update = {"result": Result.GAVE_UP, "message": uncounted}
            yield _Way(
                "its end is recorded; its dead letter says that its shutdown could not count it",
                lambda: replace(bare(decided), letter=_letter(job, decided.model_copy(update=update))),
                decided,
            )
        yield _Way("its end is recorded, and nothing beside it", lambda: bare(decided), decided)
    if history.bugs < MOST_BUGS:
        yield _Way("given back to its lane", lambda: Released(job=taken, history=history), GivenBack())
    gave_up = outcome_of(job, uncalled(Result.GAVE_UP, history, named))
    yield _Way("set aside as a dead letter", lambda: replace(ended_of(job, gave_up, kept), job=taken), gave_up)
    if job.membership is not None:
        yield _Way(
            "set aside as a dead letter; its shutdown could not count it",
            lambda: replace(bare(gave_up), letter=_letter(job, gave_up)),
            gave_up,
        )
    plain = gave_up.model_copy(update={"params": None})
    yield _Way("given up, and nothing beside it", lambda: bare(plain), plain)


def _letter(job: Handling, outcome: Outcome) -> DeadLetterRecord | None:
    member_result = None if job.membership is None else member_result_of(job.membership, outcome)
    understood = job.command is not None
    return dead_letter_record(job.delivery.argument, job.membership, outcome, member_result, understood=understood)
