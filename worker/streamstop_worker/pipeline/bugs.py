"""Bugs: releases a job whose handling raised an unexpected error, or an error of Redis that a retry does not mend.

After the first bug the job returns to its lane, because another worker may not meet the bug. After the second it
becomes a dead letter. So the vendor is called twice at most. If the job's outcome was decided already, it is recorded
at once, without the parts of the report that fail.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from streamstop._core.lane import Lane
from streamstop._core.lane_types import DeadLetterRecord
from streamstop._core.membership import member_result_of
from streamstop._core.unique import unique_key
from streamstop._redis.errors import bug, is_unreachable, reason
from streamstop._wire.reports import Ended, Released, Report
from streamstop._wire.results import outcome_record
from streamstop.outcomes import Outcome, Result
from streamstop_worker.pipeline.conclude import Handling, Reporting, build_letter, build_outcome, build_report
from streamstop_worker.pipeline.ends import End, GivenBack, end_without_call

#: After so many bugs a job becomes a dead letter.
MOST_BUGS = 2
#: The log event of every bug. Its line has the traceback, and `became` says what happened to the job.
EVENT = "this is a bug in streamstop"


@dataclass(frozen=True)
class _Fallback:
    """One way to release a job. If its report raises an error too, the next fallback asks less of Redis."""

    became: str
    report: Callable[[], Report]
    end: End


def log_error(log: Any, error: Exception, *, unreachable: str, became: str, **fields: object) -> None:
    """Log an error that no caller receives: the event `unreachable` if Redis is unreachable, otherwise a bug."""
    if is_unreachable(error):
        log.warning(unreachable, reason=reason(error), **fields)
    else:
        log.error(EVENT, became=became, bug=bug(error), exc_info=error, **fields)


def log_broken_lanes(log: Any, lanes: Mapping[Lane, str]) -> None:
    """Log each lane whose keys make a script of Redis fail, with the error. Other lanes are not affected."""
    for lane, error in lanes.items():
        log.error("a lane's keys are broken; the lane is retried in a second", lane=lane.name, error=error)


async def handle_bug(job: Handling, error: Exception, report: Reporting, record_ttl: timedelta) -> End:
    """Release a job whose handling raised `error`, and log that once. Return what Redis has recorded.

    Raises the errors of an unreachable Redis; the job is then taken again after its lease.
    """
    became, end = "left to its lease: the keys of its lane are broken", None
    try:
        for fallback in _fallbacks(job, error, record_ttl):
            try:
                rest = await report(fallback.report())
            except Exception as another:
                if is_unreachable(another):
                    became = "left to its lease: Redis cannot be reached"
                    raise
            else:
                became, end = (fallback.became, fallback.end) if rest is not None else ("taken by another worker", None)
                break
    finally:
        job.log.error(EVENT, became=became, bug=bug(error), bugs=job.history.bugs + 1, exc_info=error)
    return GivenBack() if end is None else end


def _fallbacks(job: Handling, error: Exception, record_ttl: timedelta) -> Iterator[_Fallback]:
    """Yield the ways to release a job, the best first."""
    history = replace(job.history, bugs=job.history.bugs + 1)
    # A slot that was used must not be given to another job.
    taken = replace(job.delivery.taken, slot_us=0) if job.is_called else job.delivery.taken
    message = f"{EVENT}: {bug(error)}"

    def minimal_report(outcome: Outcome) -> Ended:
        record, unique = outcome_record(outcome), unique_key(taken.lane, job.delivery.argument)
        return Ended(job=taken, send_delay=job.send_delay, record=record, kept=record_ttl, unique=unique)

    if job.outcome is not None:
        decided = job.outcome
        if job.membership is not None:
            uncounted = f"{message}: it ended {decided.result.value}, and its shutdown could not count it"
            update = {"result": Result.GAVE_UP, "message": uncounted}
            yield _Fallback(
                "its outcome is recorded; its dead letter says that its shutdown could not count it",
                lambda: replace(minimal_report(decided), letter=_letter(job, decided.model_copy(update=update))),
                decided,
            )
        yield _Fallback("its outcome is recorded, and nothing else", lambda: minimal_report(decided), decided)
    if history.bugs < MOST_BUGS:
        yield _Fallback("returned to its lane", lambda: Released(job=taken, history=history), GivenBack())
    gave_up = build_outcome(job, end_without_call(Result.GAVE_UP, history, message))
    yield _Fallback("made a dead letter", lambda: replace(build_report(job, gave_up, record_ttl), job=taken), gave_up)
    if job.membership is not None:
        yield _Fallback(
            "made a dead letter; its shutdown could not count it",
            lambda: replace(minimal_report(gave_up), letter=_letter(job, gave_up)),
            gave_up,
        )
    without_params = gave_up.model_copy(update={"params": None})
    yield _Fallback("given up; nothing else is recorded", lambda: minimal_report(without_params), without_params)


def _letter(job: Handling, outcome: Outcome) -> DeadLetterRecord | None:
    member_result = None if job.membership is None else member_result_of(job.membership, outcome)
    return build_letter(job, outcome, member_result)
