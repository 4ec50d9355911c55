"""Execute: runs one delivered job from its take to its report.

::

    take ──▶ wait for the slot ──▶ sign, send ──▶ judge ──▶ conclude: Finish │ Retry │ Throttle │ GiveBack

A job waits in a worker only for its slot, which is near. A job that cannot be called now returns to its lane.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from streamstop._core.commands import ReceivedCommand
from streamstop._core.lane_types import LastCall, SendDelay
from streamstop._core.membership import Membership
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.errors import is_unreachable
from streamstop._redis.schedule import MOST_LOST_DELIVERIES
from streamstop._redis.stream_tasks import StreamTasks
from streamstop.errors import InvalidCommand, NewerMessage, UnknownOperation
from streamstop.outcomes import Result
from streamstop_worker.accounts import Account, Accounts
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.bugs import handle_bug
from streamstop_worker.pipeline.conclude import Handling, Reporting, bind_log, build_outcome, conclude, log_with_answer
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.earlier_stops import explain, is_unexplained
from streamstop_worker.pipeline.ends import (
    OTHER_ACCOUNT_DELAY,
    End,
    Ending,
    Finish,
    GiveBack,
    Retry,
    end_without_call,
    leave_to_another_worker,
)
from streamstop_worker.pipeline.observer import Call, Observer
from streamstop_worker.pipeline.serving import AccountWithoutWorker, find_account
from streamstop_worker.pipeline.slots import Once, Slots
from streamstop_worker.pipeline.verdicts import judge
from streamstop_worker.settings import SPARE
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.shutdowns.verify import ASK_AGAIN, still_running
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Answer

#: How late after its slot a job may still be sent. The lane compensates for the part that the headroom does not cover.
LATE_S = 0.05


@dataclass(frozen=True)
class Executor:
    """Runs the deliveries of a worker."""

    shutdowns: Shutdowns
    stream_tasks: StreamTasks
    accounts: Accounts
    known_accounts: KnownAccounts
    transport: Transport
    report: Reporting
    slots: Slots
    #: How long an outcome can be read.
    record_ttl: timedelta
    random: Callable[[], float]
    #: Whether Celery's remote control has revoked the job.
    is_revoked: Callable[[str], bool]
    backoff: Backoff = field(default_factory=Backoff)
    observer: Observer = field(default_factory=Observer)

    async def execute(self, delivery: Delivery, on_call: Callable[[], None]) -> End:
        """Run a job until its delivery ends. `on_call` is called right before the vendor.

        Raises the errors of an unreachable Redis; the job is then taken again after its lease.
        """
        sent = Once(self.slots.send)
        try:
            job = Handling(delivery, bind_log(delivery), delivery.taken.history)
            self.observer.took(job)
            try:
                end = await self._execute(_Execution(self, job, on_call, sent), job)
            except Exception:
                self.observer.left(job)
                raise
            self.observer.ended(job, end)
            return end
        finally:
            sent()

    async def _execute(self, execution: "_Execution", job: Handling) -> End:
        try:
            return await conclude(job, await execution.decide(), self.report, self.record_ttl)
        except Exception as error:
            if is_unreachable(error):
                raise
            return await handle_bug(job, error, self.report, self.record_ttl)


class _Execution:
    """Decides how one delivery ends, and calls the vendor for that. It reports nothing."""

    def __init__(self, worker: Executor, job: Handling, on_call: Callable[[], None], sent: Once) -> None:
        self._worker = worker
        self._job = job
        self._on_call = on_call
        #: Counts the job once as one that no longer waits for its call.
        self._sent = sent

    async def decide(self) -> Ending:  # noqa: PLR0911  # a return for each end
        """Return how the delivery ends. This includes the wait for its slot and the call."""
        job, worker = self._job, self._worker
        delivery, taken = job.delivery, job.delivery.taken
        if worker.slots.draining:
            return GiveBack()
        job.membership = Membership.of_message(delivery.argument)
        if delivery.problem is not None:
            job.log.error("the message cannot be read and becomes a dead letter", reason=delivery.problem)
            return end_without_call(Result.REFUSED, job.history, f"workers cannot read the message: {delivery.problem}")
        if self._is_revoked():
            return self._end_revoked()
        try:
            job.command = command = ReceivedCommand.from_message(delivery.argument)
            account = await find_account(command, taken.lane, worker.accounts, worker.known_accounts)
        except (NewerMessage, UnknownOperation, AccountWithoutWorker) as problem:
            return self._leave_to_another_worker(str(problem))
        except InvalidCommand as problem:
            return end_without_call(Result.REFUSED, job.history, str(problem))
        if account is None or not taken.slot_us:
            job.log.info("left to another worker: this one does not have the account")
            return Retry(OTHER_ACCOUNT_DELAY, job.history, "another worker has the account, this one does not")
        return await self._wait_for_slot(command) or await self._call(command, account)

    async def _wait_for_slot(self, command: ReceivedCommand) -> Ending | None:
        """Wait for the slot. Return how the delivery ends without a call, or None if the call is due."""
        job, delivery = self._job, self._job.delivery
        if job.history.lost_deliveries >= MOST_LOST_DELIVERIES:
            return end_without_call(
                Result.GAVE_UP, job.history, f"lost with its worker {job.history.lost_deliveries} times"
            )
        if command.expires_at is not None and delivery.taken.slot_us >= command.expires_at.timestamp() * 1_000_000:
            return self._end_expired()
        if not await self._worker.slots.wait(delivery.taken_at + delivery.wait_s):
            return GiveBack()
        if self._is_revoked():
            return self._end_revoked()
        if command.expires_at is not None and delivery.now() >= command.expires_at:
            return self._end_expired()
        return None

    async def _call(self, command: ReceivedCommand, account: Account) -> Ending:
        """Sign and send the request, and judge the answer. A job that is too late for its slot returns to its lane."""
        job, delivery = self._job, self._job.delivery
        protocol = PROTOCOLS[account.vendor]
        request = protocol.build(command.operation, account, now=datetime.now(UTC), nonce=str(uuid4()))
        now = time.monotonic()
        # The second condition measures from before the take, because the process may have been suspended between
        # Redis' answer and the reading of the clock. A later call could end after its lease.
        longest_delay_s = now - delivery.asked_at - delivery.wait_s
        if now - delivery.taken_at - delivery.wait_s > LATE_S or longest_delay_s > SPARE.total_seconds():
            job.log.debug("too late for its slot")
            return GiveBack()
        self._sent()
        self._on_call()
        job.is_called, job.history = True, replace(job.history, calls=job.history.calls + 1, in_doubt=True)
        began_at = time.monotonic()
        try:
            response = await self._worker.transport.send(request)
            answer, sent_at, status = protocol.parse(command.operation, response), response.sent_at, response.status
            sent = True
        except TransportFault as fault:
            sent_at, sent, status = fault.sent_at, fault.sent_at is not None, None
            answer = replace(fault.answer, in_doubt=sent)
        if sent_at is not None:
            # Measured from before the take: the slot's exact moment inside that round trip is unknown.
            late = timedelta(seconds=sent_at - delivery.asked_at - delivery.wait_s)
            job.send_delay = SendDelay(max(late, timedelta(0)), delivery.taken.slots_shifted_us)
        ended_at = time.monotonic()
        job.call_s = ended_at - began_at
        called = (command.operation.spec.action, request.host, request.method)
        self._worker.observer.called(job, Call(*called, answer, status, began_at, ended_at, sent))
        return await self._judge(command, answer)

    async def _judge(self, command: ReceivedCommand, answer: Answer) -> Ending:
        """Return how the delivery ends after the vendor's answer."""
        job, kind = self._job, command.operation.spec.kind
        backoff, random = self._worker.backoff, self._worker.random
        ending = judge(answer, kind, job.delivery.taken.history, backoff, random)
        if isinstance(ending, Finish) and is_unexplained(job, command, ending):
            tasks = self._worker.stream_tasks
            ending = await asyncio.to_thread(explain, tasks, job, command, ending, backoff=backoff, random=random)
        job.history = ending.history
        if not answer.known:
            log_with_answer(job, ending.history, answer).error("unknown code: treated as transient")
        if not isinstance(ending, Finish):
            if await self._was_cancelled():
                call = ending.call if isinstance(ending, Retry) else LastCall.FAULT
                return Finish(Result.CANCELLED, ending.history, call, answer)
        elif ending.result is Result.STATUS and job.membership is not None:
            outcome = build_outcome(job, ending)
            if still_running(job.membership, outcome, job.delivery.now()):
                not_an_attempt = replace(ending.history, attempts=ending.history.attempts - 1)
                return Retry(ASK_AGAIN, not_an_attempt, "the vendor says that the task still runs", LastCall.WELL)
        return ending

    async def _was_cancelled(self) -> bool:
        """Return whether the job's shutdown was cancelled during the call."""
        membership = self._job.membership
        if membership is None:
            return False
        return await asyncio.to_thread(self._worker.shutdowns.was_cancelled, membership.shutdown)

    def _is_revoked(self) -> bool:
        return self._worker.is_revoked(self._job.delivery.taken.job_id)

    def _end_revoked(self) -> Ending:
        return end_without_call(Result.CANCELLED, self._job.history, "revoked by Celery's remote control")

    def _end_expired(self) -> Ending:
        return end_without_call(Result.EXPIRED, self._job.history, "the command expired before its call")

    def _leave_to_another_worker(self, problem: str) -> Ending:
        """Let the job wait for a worker that can serve it. Refuse it if it has waited for ten minutes."""
        retry = leave_to_another_worker(self._job.history, problem, self._job.delivery.now())
        if retry is None:
            return end_without_call(Result.REFUSED, self._job.history, problem)
        self._job.log.warning("left to another worker", problem=problem)
        return retry
