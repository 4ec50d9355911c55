"""Conclude: reports the end of a delivery to Redis, and logs it. No other module does."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import structlog

from streamstop._core.answers import Became, CallAnswer
from streamstop._core.commands import ReceivedCommand
from streamstop._core.lane_types import (
    ON_TIME,
    AttemptHistory,
    CallError,
    DeadLetterRecord,
    MemberResult,
    SendDelay,
)
from streamstop._core.letters import dead_letter_record
from streamstop._core.membership import Membership
from streamstop._core.stream_tasks import DEFERRED, TaskNote
from streamstop._core.unique import unique_key
from streamstop._redis.schedule import WAITS_FOR_KEY
from streamstop._tracing import kept, passed_on, trace_id
from streamstop._wire.reports import Ended, KeptAnswer, Released, Report, Retried, Throttled
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

#: Sends a report to Redis. Returns how long the lane rests because of it, or None if the worker has lost the lease.
Reporting = Callable[[Report], Coroutine[Any, Any, timedelta | None]]


@dataclass(slots=True)
class Handling:
    """A delivery that is being handled, with the facts that are known so far."""

    delivery: Delivery
    log: Any
    #: The history, which includes this call as soon as it is sent.
    history: AttemptHistory
    command: ReceivedCommand | None = None
    membership: Membership | None = None
    send_delay: SendDelay = ON_TIME
    #: Whether the vendor may have been called. The slot is then used.
    is_called: bool = False
    #: How long the call took, in seconds, as soon as it has ended.
    call_s: float | None = None
    #: The outcome, as soon as it is decided. Redis may not have recorded it yet.
    outcome: Outcome | None = None


async def conclude(job: Handling, ending: Ending, report: Reporting, record_ttl: timedelta) -> End:
    """Report how a delivery ends, log it, and return what Redis has recorded.

    `record_ttl` is how long the job's record can be read.
    """
    taken = job.delivery.taken
    match ending:
        case Finish():
            return await _finish(job, ending, report, record_ttl)
        case Done(step):
            record = step_record(taken.job_id, step, job.delivery.now())
            rest = await report(Ended(job=taken, record=record, kept=record_ttl))
            return GivenBack() if rest is None else StepDone(step)
        case Retry():
            return await _retry(job, ending, report, record_ttl)
        case Throttle(hint, history, answer):
            throttled = Throttled(job=taken, hint=hint, history=history, send_delay=job.send_delay)
            answered = _answered(job, history, answer, Became.THROTTLED, record_ttl)
            rest = await report(replace(throttled, error=_call_error(answer), answered=answered))
            log = log_with_answer(job, history, answer)
            log.warning("throttled: the lane rests", rest_s=rest and round(rest.total_seconds(), 3))
            return GivenBack()
        case GiveBack():
            await report(Released(job=taken))
            job.log.debug("returned to its lane")
            return GivenBack()
        case _:
            assert_never(ending)


async def _finish(job: Handling, finish: Finish, report: Reporting, record_ttl: timedelta) -> End:
    job.outcome = outcome = build_outcome(job, finish)
    job.history = finish.history
    ended = build_report(job, outcome, record_ttl)
    error = None if outcome.ok else _call_error(finish.answer)
    answered = None
    if finish.if_held is not None:
        answered = _answered(job, finish.if_held, finish.answer, Became.HELD, record_ttl)
    rest = await report(replace(ended, call=finish.call, error=error, if_held=finish.if_held, answered=answered))
    log = log_with_answer(job, finish.history, outcome)
    if rest is None:
        log.warning("the outcome is not recorded: the lease had expired", result=outcome.result.value)
        return GivenBack()
    if rest == WAITS_FOR_KEY:
        job.outcome = None
        log.info("the key is refused: the job waits again")
        return GivenBack()
    (log.warning if outcome.result.needs_person else log.info)(outcome.result.value, params=outcome.params)
    member_result = ended.member_result
    if member_result is not None and member_result.result != outcome.result.value:  # the result of the verification
        (log.warning if member_result.attention else log.info)(member_result.result, member=member_result.member)
    return outcome


async def _retry(job: Handling, retry: Retry, report: Reporting, record_ttl: timedelta) -> End:
    taken, answer = job.delivery.taken, retry.answer
    deferral = Deferral(retry.reason, job.delivery.now() + retry.delay)
    rest = await report(
        Retried(
            job=taken,
            call=retry.call,
            send_delay=job.send_delay,
            error=None if answer is None else _call_error(answer),
            answered=None if answer is None else _answered(job, retry.history, answer, Became.RETRIED, record_ttl),
            delay=retry.delay,
            history=retry.history,
            record=deferral_record(taken.job_id, deferral),
            kept=record_ttl,
            note=_note(job, DEFERRED, retry.history),
        )
    )
    if answer is not None:
        log = log_with_answer(job, retry.history, answer)
        log.info("deferred", delay_s=round(retry.delay.total_seconds(), 3))
        if rest:
            log.warning("the lane is failing and rests", rest_s=rest.total_seconds())
    return GivenBack() if rest is None else deferral


def build_report(job: Handling, outcome: Outcome, record_ttl: timedelta) -> Ended:
    """Return the report of a job that has ended with `outcome`, with the next step of its shutdown."""
    now, headers = outcome.ended_at or datetime.now(UTC), passed_on(job.delivery.headers)
    next_step = after(job.membership, job.command, outcome, now, headers)
    letter = None
    if next_step.then is None:
        letter = build_letter(job, outcome, next_step.member_result)
    return Ended(
        job=job.delivery.taken,
        send_delay=job.send_delay,
        record=outcome_record(outcome),
        kept=record_ttl,
        member_result=next_step.member_result,
        then=next_step.then,
        letter=letter,
        note=_note(job, outcome.result.value, job.history),
        unique=unique_key(job.delivery.taken.lane, job.delivery.argument),
    )


def build_letter(job: Handling, outcome: Outcome, member_result: MemberResult | None) -> DeadLetterRecord | None:
    """Return the dead letter of a job that has ended; None if its end needs no attention."""
    delivery = job.delivery
    return dead_letter_record(
        delivery.argument,
        job.membership,
        outcome,
        member_result,
        understood=job.command is not None,
        trace=lambda: kept(delivery.headers),
    )


def _note(job: Handling, state: str, history: AttemptHistory) -> TaskNote | None:
    """Return what is noted of the job's stream task; None if its command could not be read or names no task."""
    task_id = None if job.command is None else job.command.operation.stream_task
    if job.command is None or task_id is None:
        return None
    operation = job.command.operation
    return TaskNote(
        task_id=task_id,
        job_id=job.delivery.taken.job_id,
        lane=job.command.lane,
        params=operation.params,
        kind=operation.spec.kind,
        state=state,
        in_doubt=history.in_doubt or history.lost_deliveries > 0,
        at=job.delivery.now(),
        shutdown=None if job.membership is None else job.membership.shutdown,
    )


def build_outcome(job: Handling, finish: Finish) -> Outcome:
    """Return the outcome of a job."""
    taken, command, answer, history = job.delivery.taken, job.command, finish.answer, finish.history
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
        call_seconds=_call_seconds(job),
        enqueued_at=command and command.enqueued_at,
        ended_at=job.delivery.now(),
        trace_id=trace_id(job.delivery.headers),
        **(_read_reply(command.operation, answer.reply) if command and finish.result is Result.STATUS else {}),
    )


def _call_seconds(job: Handling) -> float | None:
    return None if job.call_s is None else round(job.call_s, 3)


def _call_error(answer: Answer) -> CallError | None:
    """Return the error in an answer; None if it has no code, because no call was made."""
    if answer.code is None:
        return None
    return CallError(answer.code, answer.message, answer.request_id, is_unknown=not answer.known)


def _answered(
    job: Handling, history: AttemptHistory, answer: Answer, became: Became, record_ttl: timedelta
) -> KeptAnswer:
    """Return an answer after which the job goes on, as Redis keeps it."""
    kept = CallAnswer(
        number=history.calls,
        at=job.delivery.now(),
        seconds=_call_seconds(job),
        code=answer.code,
        message=answer.message,
        request_id=answer.request_id,
        became=became,
    )
    return KeptAnswer(kept, record_ttl)


def bind_log(delivery: Delivery) -> Any:
    """Return a logger whose lines name the job."""
    taken = delivery.taken
    return structlog.get_logger("streamstop").bind(
        job_id=taken.job_id, account=taken.lane.account, operation=taken.lane.operation
    )


def log_with_answer(job: Handling, history: AttemptHistory, answer: Answer | Outcome) -> Any:
    """Return the job's logger with the fields of the last answer."""
    texts = {key: value for key, value in (("code", answer.code), ("message", answer.message)) if value is not None}
    return job.log.bind(attempt=history.attempts, calls=history.calls, request_id=answer.request_id, **texts)


def _read_reply(operation: Operation, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status in a status reply, or the whole reply if the operation has no status field."""
    status = operation.spec.status
    return {"reply": dict(reply)} if status is None else {"status": status.read(reply)}
