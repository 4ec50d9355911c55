"""Execute: the pipeline that one delivered job runs through.

::

    take ──▶ wait for the slot ──▶ sign, send ──▶ judge ──▶ report: ended │ retried │ throttled │ released

A job that cannot be called here and now goes back to its lane; none waits in a worker but for a slot that is near.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never
from uuid import uuid4

import structlog

from streamstop.commands import ReceivedCommand
from streamstop.dead import letter_of
from streamstop.errors import InvalidCommand, NewerMessage, UnknownOperation
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import (
    MOST_LAPSES,
    ON_TIME,
    Ended,
    Lane,
    LastCall,
    Lateness,
    Released,
    Report,
    Retried,
    Throttled,
    Tries,
)
from streamstop.operations import Operation
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral, deferral_record, outcome_record
from streamstop.rooms import Membership
from streamstop_worker.accounts import Account, Accounts
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import ELSEWHERE, NEWER, End, GivenBack, left
from streamstop_worker.pipeline.serving import NobodysAccount, serving
from streamstop_worker.pipeline.slots import Once, Slots
from streamstop_worker.pipeline.verdicts import Defer, Finish, Pause, judge
from streamstop_worker.settings import SPARE
from streamstop_worker.shutdowns import ASK_AGAIN, Shutdowns, after, still_running
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Answer

#: How late a job may wake for its slot and still use it; the lane makes up for what the headroom does not cover.
LATE_S = 0.05


@dataclass(frozen=True)
class Executor:
    """Runs deliveries; one a worker."""

    shutdowns: Shutdowns
    accounts: Accounts
    known_accounts: KnownAccounts
    transport: Transport
    #: Tells Redis what became of a job; returns how long its lane rests for it, None where it is another's by now.
    report: Callable[[Report], Coroutine[Any, Any, timedelta | None]]
    slots: Slots
    #: How long an outcome can be read.
    kept: timedelta
    random: Callable[[], float]
    #: Whether Celery's remote control has revoked the job.
    is_revoked: Callable[[str], bool]
    backoff: Backoff = field(default_factory=Backoff)

    async def execute(self, delivery: Delivery, on_call: Callable[[], None]) -> End:
        """Carry a job as far as it goes now; `on_call` is called right before the vendor is.

        Raises `UNREACHABLE` errors; the job's lease mends what they leave.
        """
        sent = Once(self.slots.send)
        try:
            return await _Execution(self, delivery, on_call, sent).run()
        finally:
            sent()


class _Execution:
    """One delivery on its way through the pipeline."""

    def __init__(self, worker: Executor, delivery: Delivery, on_call: Callable[[], None], sent: Once) -> None:
        self._worker = worker
        self._delivery = delivery
        self._on_call = on_call
        #: Counts the job, once, as one that waits no longer for its call.
        self._sent = sent
        self._taken = delivery.taken
        self._lane: Lane = delivery.taken.lane
        self._tries = delivery.taken.tries
        self._command: ReceivedCommand | None = None
        self._membership = Membership.of_message(delivery.argument)
        self._lateness = ON_TIME
        self._log = structlog.get_logger("streamstop").bind(
            job_id=self._taken.job_id, account=self._lane.account, operation=self._lane.operation
        )

    async def run(self) -> End:  # noqa: PLR0911  # a return an end
        if self._worker.slots.draining:
            return await self._give_back()
        if self._delivery.problem is not None:
            self._log.error("a message that workers cannot begin was set aside", reason=self._delivery.problem)
            return await self._end_uncalled(Result.REFUSED, f"a worker cannot begin it: {self._delivery.problem}")
        if self._worker.is_revoked(self._taken.job_id):
            return await self._end_uncalled(Result.CANCELLED, "revoked by Celery's remote control")
        try:
            self._command = command = ReceivedCommand.from_message(self._delivery.argument)
            account = await serving(command, self._lane, self._worker.accounts, self._worker.known_accounts)
        except (NewerMessage, UnknownOperation, NobodysAccount) as problem:
            return await self._leave(str(problem))
        except InvalidCommand as problem:
            return await self._end_uncalled(Result.REFUSED, str(problem))
        if account is None or not self._taken.slot_us:
            return await self._leave_to_another_worker()
        return await self._call(command, account)

    async def _call(self, command: ReceivedCommand, account: Account) -> End:  # noqa: PLR0911  # a return an end
        """Wait for the slot, sign and send; a call that would leave late goes back for another slot."""
        delivery, tries = self._delivery, self._tries
        if tries.lapses >= MOST_LAPSES:
            return await self._end_uncalled(Result.GAVE_UP, f"lost with its worker {tries.lapses} times")
        if command.expires_at is not None and self._taken.slot_us >= command.expires_at.timestamp() * 1_000_000:
            return await self._end_uncalled(Result.EXPIRED, "the command expired before its call")
        if not await self._worker.slots.wait(delivery.taken_at + delivery.wait_s):
            return await self._give_back()
        if self._worker.is_revoked(self._taken.job_id):
            return await self._end_uncalled(Result.CANCELLED, "revoked by Celery's remote control")
        if command.expires_at is not None and delivery.now() >= command.expires_at:
            return await self._end_uncalled(Result.EXPIRED, "the command expired before its call")
        protocol = PROTOCOLS[account.vendor]
        request = protocol.build(command.operation, account, now=datetime.now(UTC), nonce=str(uuid4()))
        now = time.monotonic()
        # Counted from before the take too: this process may have stood still between Redis' answer and the reading of
        # the clock. Later than that, the call could end after its lease.
        late_at_most = now - delivery.asked_at - delivery.wait_s
        if now - delivery.taken_at - delivery.wait_s > LATE_S or late_at_most > SPARE.total_seconds():
            self._log.debug("given back: its slot is over")
            return await self._give_back()
        self._sent()
        self._on_call()
        try:
            response = await self._worker.transport.send(request)
            answer, sent_at = protocol.parse(command.operation, response), response.sent_at
        except TransportFault as fault:
            answer, sent_at = replace(fault.answer, in_doubt=fault.sent_at is not None), fault.sent_at
        if sent_at is not None:
            # From before the take: how soon after it the slot was given, nobody here can tell.
            late = timedelta(seconds=sent_at - delivery.asked_at - delivery.wait_s)
            self._lateness = Lateness(max(late, timedelta(0)), self._taken.moved_us)
        return await self._apply(command.operation, answer, delivery.now())

    async def _apply(self, operation: Operation, answer: Answer, now: datetime) -> End:
        """Make the verdict on `answer` come true."""
        verdict = judge(answer, operation.spec.kind, self._tries, self._worker.backoff, self._worker.random)
        log = self._log_of(verdict.tries, answer.code, answer.message, answer.request_id)
        if not answer.known:
            log.error("unknown code: treated as transient")
        if not isinstance(verdict, Finish) and await self._was_cancelled():
            return await self._finish(self._outcome(Result.CANCELLED, verdict.tries, answer, now), LastCall.FAULT)
        match verdict:
            case Finish(result, tries, call):
                told = _told(operation, answer.reply) if result is Result.STATUS else {}
                outcome = self._outcome(result, tries, answer, now, **told)
                if still_running(self._membership, outcome, now):
                    unfailing = replace(tries, attempts=tries.attempts - 1)
                    deferral = Deferral("the vendor says that it still runs", now + ASK_AGAIN)
                    return await self._retry(deferral, ASK_AGAIN, unfailing, LastCall.WELL)
                return await self._finish(outcome, call)
            case Defer(delay, tries, fault):
                deferral = Deferral(": ".join(part for part in (answer.code, answer.message) if part), now + delay)
                rest = await self._retried(deferral, delay, tries, LastCall.FAULT if fault else LastCall.WELL)
                log.info("deferred", delay_s=round(delay.total_seconds(), 3))
                if rest:
                    log.warning("the lane is failing and rests", rest_s=rest.total_seconds())
                return deferral if rest is not None else GivenBack()
            case Pause(hint, tries):
                rest = await self._worker.report(
                    Throttled(job=self._taken, hint=hint, tries=tries, lateness=self._lateness)
                )
                log.warning("throttled: the lane rests", rest_s=rest and round(rest.total_seconds(), 3))
                return GivenBack()
            case _:
                assert_never(verdict)

    async def _was_cancelled(self) -> bool:
        """Whether the shutdown that the job is part of was cancelled while its call was under way."""
        if self._membership is None:
            return False
        return await asyncio.to_thread(self._worker.shutdowns.was_cancelled, self._membership.shutdown)

    async def _finish(self, outcome: Outcome, call: LastCall) -> End:
        follows = after(self._membership, self._command, outcome, outcome.ended_at or datetime.now(UTC))
        letter = None
        if follows.then is None:
            understood = self._command is not None
            message = self._delivery.argument
            letter = letter_of(message, self._membership, outcome, follows.settlement, understood=understood)
        rest = await self._worker.report(
            Ended(
                job=self._taken,
                call=call,
                lateness=self._lateness,
                record=outcome_record(outcome),
                kept=self._worker.kept,
                settlement=follows.settlement,
                then=follows.then,
                letter=letter,
            )
        )
        log = self._log_of(outcome, outcome.code, outcome.message, outcome.request_id)
        if rest is None:
            log.warning("not recorded, for the lease had run out", result=outcome.result.value)
            return GivenBack()
        (log.warning if outcome.result.needs_person else log.info)(outcome.result.value, params=outcome.params)
        counted = follows.settlement
        if counted is not None and counted.result != outcome.result.value:  # what verifying the stop has shown
            (log.warning if counted.attention else log.info)(counted.result, member=counted.member)
        return outcome

    async def _retried(self, deferral: Deferral, delay: timedelta, tries: Tries, call: LastCall) -> timedelta | None:
        """Let the job wait for `delay`; return how long its lane rests, None where it is another's by now."""
        return await self._worker.report(
            Retried(
                job=self._taken,
                call=call,
                lateness=self._lateness,
                delay=delay,
                tries=tries,
                record=deferral_record(self._taken.job_id, deferral),
                kept=self._worker.kept,
            )
        )

    async def _retry(self, deferral: Deferral, delay: timedelta, tries: Tries, call: LastCall) -> End:
        """Let the job wait for what is nobody's fault."""
        rest = await self._retried(deferral, delay, tries, call)
        return GivenBack() if rest is None else deferral

    def _outcome(self, result: Result, tries: Tries, answer: Answer, now: datetime, **told: Any) -> Outcome:
        return Outcome(
            result=result,
            job_id=self._taken.job_id,
            account=self._lane.account,
            operation=self._lane.operation,
            params=self._command and self._command.operation.params,
            code=answer.code,
            message=answer.message,
            request_id=answer.request_id,
            attempts=tries.attempts,
            calls=tries.calls,
            enqueued_at=self._command and self._command.enqueued_at,
            ended_at=now,
            **told,
        )

    def _log_of(self, tries: Tries | Outcome, code: str | None, message: str | None, request_id: str | None) -> Any:
        said = {key: value for key, value in (("code", code), ("message", message)) if value is not None}
        return self._log.bind(attempt=tries.attempts, calls=tries.calls, request_id=request_id, **said)

    async def _end_uncalled(self, result: Result, reason: str) -> End:
        answer = Answer(None, message=reason)
        return await self._finish(self._outcome(result, self._tries, answer, self._delivery.now()), LastCall.NONE)

    async def _leave_to_another_worker(self) -> End:
        deferral = Deferral("this worker does not have the account, and another has", self._delivery.now() + ELSEWHERE)
        self._log.info("left to another worker: the account is not in this one's file")
        return await self._retry(deferral, ELSEWHERE, self._tries, LastCall.NONE)

    async def _leave(self, problem: str) -> End:
        """Let the job wait for a worker that knows what this one does not; refuse it where none has come."""
        deferral, tries = left(self._tries, problem, self._delivery.now())
        if deferral is None:
            return await self._end_uncalled(Result.REFUSED, problem)
        self._log.warning("left to another worker", problem=problem)
        return await self._retry(deferral, NEWER, tries, LastCall.NONE)

    async def _give_back(self) -> End:
        await self._worker.report(Released(job=self._taken))
        self._log.debug("given back")
        return GivenBack()


def _told(operation: Operation, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an outcome keeps of a status reply: the status, or all of it where there is no single one."""
    status = operation.spec.status
    return {"reply": dict(reply)} if status is None else {"status": status.read(reply)}
