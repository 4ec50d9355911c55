"""Earlier stops: decides how a stop ends whose stream task the vendor does not know.

If another job has stopped the task, or may have done so, the stop has succeeded. If another job may be stopping it
right now, the stop waits a little and asks the vendor again.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from streamstop._core.commands import ReceivedCommand
from streamstop._core.lane_types import LastCall
from streamstop._core.stream_tasks import EarlierStop, PendingStop, explain_not_found, stop_lanes
from streamstop._redis.stream_tasks import StreamTasks
from streamstop.operations import Kind
from streamstop.outcomes import Result
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.conclude import Handling
from streamstop_worker.pipeline.ends import Finish, Retry

#: How long a stop waits at most, the first time, for another one of the same task that is under way.
FIRST_WAIT = timedelta(milliseconds=500)


def is_unexplained(job: Handling, command: ReceivedCommand, ending: Finish) -> bool:
    """Return whether `ending` is that of a stop whose task the vendor does not know.

    The second stop of a verification is none: it follows one that the vendor has acknowledged.
    """
    if job.membership is not None and job.membership.stop_attempt == 2:
        return False
    return (
        ending.result is Result.NOT_FOUND
        and command.operation.spec.kind is Kind.STOP
        and command.operation.stream_task is not None
    )


def explain(
    tasks: StreamTasks,
    job: Handling,
    command: ReceivedCommand,
    ending: Finish,
    *,
    backoff: Backoff,
    random: Callable[[], float],
) -> Finish | Retry:
    """Return how the job ends or waits, by what Redis knows of its stream task. Raises redis-py's errors."""
    lane, operation = command.lane, command.operation
    jobs = tasks.jobs(operation.stream_task or "", stop_lanes(lane))
    match explain_not_found(jobs, job.delivery.taken.job_id, lane, operation.params):
        case EarlierStop() as earlier:
            return replace(ending, result=Result.ALREADY_STOPPED, answer=replace(ending.answer, message=str(earlier)))
        case PendingStop(other) if ending.history.attempts < backoff.attempts:
            # From half of the wait to the whole, which doubles each time. Jobs that wait for each other drift apart.
            longest = min(backoff.cap, FIRST_WAIT * 2 ** (ending.history.attempts - 1))
            reason = f"job {other} may be stopping the same stream task"
            return Retry(longest * (1 + random()) / 2, ending.history, reason, LastCall.WELL, ending.answer)
        case _:
            return ending
