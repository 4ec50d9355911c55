"""Conclude: the one place where the end of a delivery is reported to Redis, and logged."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import structlog

from streamstop._core.commands import ReceivedCommand
from streamstop._core.lane_types import ON_TIME, AttemptHistory, SendDelay
from streamstop._core.letters import dead_letter_record
from streamstop._core.membership import Membership
from streamstop._wire.reports import Ended, Released, Report, Retried, Throttled
from streamstop._wire.results import deferral_record, outcome_record, step_record
from streamstop.operations import Operation
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import (
    Done,
    End,
    Ending,
    Finish,
    GiveBack,
    GivenBack,
    Retry,
    StepDone,
    Throttle,
)
from streamstop_worker.shutdowns.verify import after
from streamstop_worker.vendors.protocol import Answer

#: Tells Redis what became of a job; returns how long its lane rests for it, None where it is another worker's by now.
Reporting = Callable[[Report], Coroutine[Any, Any, timedelta | None]]


@dataclass(slots=True)
class Handling:
    """A delivery on its way, and what is known of it so far."""

    delivery: Delivery
    log: Any
    #: Its history, this call included once it is sent.
    history: AttemptHistory
    command: ReceivedCommand | None = None
    membership: Membership | None = None
    send_delay: SendDelay = ON_TIME
    #: Whether the vendor may have been called. Its slot is used then.
    is_called: bool = False
    #: How it ended, once that is decided; Redis may not have taken it down yet.
    outcome: Outcome | None = None


async def conclude(job: Handling, ending: Ending, report: Reporting, kept: timedelta) -> End:
    """Report how a delivery ends, log it, and return what Redis has taken down.

    `kept`: how long the job's record can be read.
    """
    taken = job.delivery.taken
    match ending:
        case Finish():
            return await _finish(job, ending, report, kept)
        case Done(step):
            record = step_record(taken.job_id, step, job.delivery.now())
            rest = await report(Ended(job=taken, record=record, kept=kept))
            return GivenBack() if rest is None else StepDone(step)
        case Retry():
            return await _retry(job, ending, report, kept)
        case Throttle(hint, history, answer):
            rest = await report(Throttled(job=taken, hint=hint, history=history, send_delay=job.send_delay))
            log = log_of(job, history, answer)
            log.warning("throttled: the lane rests", rest_s=rest and round(rest.total_seconds(), 3))
            return GivenBack()
        case GiveBack():
            await report(Released(job=taken))
            job.log.debug("given back")
            return GivenBack()
        case _:
            assert_never(ending)


async def _finish(job: Handling, finish: Finish, report: Reporting, kept: timedelta) -> End:
    job.outcome = outcome = outcome_of(job, finish)
    ended = ended_of(job, outcome, kept)
    rest = await report(replace(ended, call=finish.call))
    log = log_of(job, finish.history, outcome)
    if rest is None:
        log.warning("not recorded, for the lease had run out", result=outcome.result.value)
        return GivenBack()
    (log.warning if outcome.result.needs_person else log.info)(outcome.result.value, params=outcome.params)
    counted = ended.member_result
    if counted is not None and counted.result != outcome.result.value:  # what verifying the stop has shown
        (log.warning if counted.attention else log.info)(counted.result, member=counted.member)
    return outcome


async def _retry(job: Handling, retry: Retry, report: Reporting, kept: timedelta) -> End:
    taken, answer = job.delivery.taken, retry.answer
    deferral = Deferral(retry.reason, job.delivery.now() + retry.delay)
    rest = await report(
        Retried(
            job=taken,
            call=retry.call,
            send_delay=job.send_delay,
            delay=retry.delay,
            history=retry.history,
            record=deferral_record(taken.job_id, deferral),
            kept=kept,
        )
    )
    if answer is not None:
        log = log_of(job, retry.history, answer)
        log.info("deferred", delay_s=round(retry.delay.total_seconds(), 3))
        if rest:
            log.warning("the lane is failing and rests", rest_s=rest.total_seconds())
    return GivenBack() if rest is None else deferral


def ended_of(job: Handling, outcome: Outcome, kept: timedelta) -> Ended:
    """Return the report of a job that has ended with `outcome`, and what follows from that."""
    follows = after(job.membership, job.command, outcome, outcome.ended_at or datetime.now(UTC))
    letter = None
    if follows.then is None:
        understood = job.command is not None
        letter = dead_letter_record(
            job.delivery.argument, job.membership, outcome, follows.member_result, understood=understood
        )
    return Ended(
        job=job.delivery.taken,
        send_delay=job.send_delay,
        record=outcome_record(outcome),
        kept=kept,
        member_result=follows.member_result,
        then=follows.then,
        letter=letter,
    )


def outcome_of(job: Handling, finish: Finish) -> Outcome:
    """Return how a job has ended."""
    taken, command, answer, history = job.delivery.taken, job.command, finish.answer, finish.history
    told = _told(command.operation, answer.reply) if command and finish.result is Result.STATUS else {}
    return Outcome(
        result=finish.result,
        job_id=taken.job_id,
        account=taken.lane.account,
        operation=taken.lane.operation,
        params=command and command.operation.params,
        code=answer.code,
        message=answer.message,
        request_id=answer.request_id,
        attempts=history.attempts,
        calls=history.calls,
        enqueued_at=command and command.enqueued_at,
        ended_at=job.delivery.now(),
        **told,
    )


def log_for(delivery: Delivery) -> Any:
    """Return the log of a job."""
    taken = delivery.taken
    return structlog.get_logger("streamstop").bind(
        job_id=taken.job_id, account=taken.lane.account, operation=taken.lane.operation
    )


def log_of(job: Handling, history: AttemptHistory, said: Answer | Outcome) -> Any:
    """Return the log of a job, with what was said in its last answer."""
    texts = {key: value for key, value in (("code", said.code), ("message", said.message)) if value is not None}
    return job.log.bind(attempt=history.attempts, calls=history.calls, request_id=said.request_id, **texts)


def _told(operation: Operation, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an outcome keeps of a status reply: the status, or all of it where there is no single one."""
    status = operation.spec.status
    return {"reply": dict(reply)} if status is None else {"status": status.read(reply)}
