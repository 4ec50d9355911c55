"""Execute: the pipeline that one delivered job runs through.

::

    take ──▶ wait for the slot ──▶ sign, send ──▶ judge ──▶ conclude: Finish │ Retry │ Throttle │ GiveBack

A job that cannot be called here and now goes back to its lane; none waits in a worker but for a slot that is near.
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
from streamstop.errors import InvalidCommand, NewerMessage, UnknownOperation
from streamstop.outcomes import Result
from streamstop_worker.accounts import Account, Accounts
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.bugs import contain
from streamstop_worker.pipeline.conclude import Handling, Reporting, conclude, log_for, log_of, outcome_of
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import ELSEWHERE, End, Ending, Finish, GiveBack, Retry, left, uncalled
from streamstop_worker.pipeline.serving import NobodysAccount, serving
from streamstop_worker.pipeline.slots import Once, Slots
from streamstop_worker.pipeline.verdicts import judge
from streamstop_worker.settings import SPARE
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.shutdowns.verify import ASK_AGAIN, still_running
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
    report: Reporting
    slots: Slots
    #: How long an outcome can be read.
    kept: timedelta
    random: Callable[[], float]
    #: Whether Celery's remote control has revoked the job.
    is_revoked: Callable[[str], bool]
    backoff: Backoff = field(default_factory=Backoff)

    async def execute(self, delivery: Delivery, on_call: Callable[[], None]) -> End:
        """Carry a job as far as it goes now; `on_call` is called right before the vendor is.

        Raises the errors of a Redis that is unreachable; the job's lease mends what they leave.
        """
        sent = Once(self.slots.send)
        try:
            job = Handling(delivery, log_for(delivery), delivery.taken.history)
            return await self._execute(_Execution(self, job, on_call, sent), job)
        finally:
            sent()

    async def _execute(self, execution: "_Execution", job: Handling) -> End:
        try:
            return await conclude(job, await execution.decide(), self.report, self.kept)
        except Exception as error:
            if is_unreachable(error):
                raise
            return await contain(job, error, self.report, self.kept)


class _Execution:
    """One delivery on its way to the decision how it ends. Nothing here reports."""

    def __init__(self, worker: Executor, job: Handling, on_call: Callable[[], None], sent: Once) -> None:
        self._worker = worker
        self._job = job
        self._on_call = on_call
        #: Counts the job, once, as one that waits no longer for its call.
        self._sent = sent

    async def decide(self) -> Ending:  # noqa: PLR0911  # a return an end
        """Return how the delivery ends, after the call if there is one."""
        job, worker = self._job, self._worker
        delivery, taken = job.delivery, job.delivery.taken
        if worker.slots.draining:
            return GiveBack()
        job.membership = Membership.of_message(delivery.argument)
        if delivery.problem is not None:
            job.log.error("a message that workers cannot begin was set aside", reason=delivery.problem)
            return uncalled(Result.REFUSED, job.history, f"a worker cannot begin it: {delivery.problem}")
        if self._is_revoked():
            return self._revoked()
        try:
            job.command = command = ReceivedCommand.from_message(delivery.argument)
            account = await serving(command, taken.lane, worker.accounts, worker.known_accounts)
        except (NewerMessage, UnknownOperation, NobodysAccount) as problem:
            return self._left(str(problem))
        except InvalidCommand as problem:
            return uncalled(Result.REFUSED, job.history, str(problem))
        if account is None or not taken.slot_us:
            job.log.info("left to another worker: the account is not in this one's file")
            return Retry(ELSEWHERE, job.history, "this worker does not have the account, and another has")
        return await self._on_time(command) or await self._call(command, account)

    async def _on_time(self, command: ReceivedCommand) -> Ending | None:
        """Wait for the slot; return how the delivery ends without a call, None where it is to be called."""
        job, delivery = self._job, self._job.delivery
        if job.history.lost_deliveries >= MOST_LOST_DELIVERIES:
            return uncalled(Result.GAVE_UP, job.history, f"lost with its worker {job.history.lost_deliveries} times")
        if command.expires_at is not None and delivery.taken.slot_us >= command.expires_at.timestamp() * 1_000_000:
            return self._expired()
        if not await self._worker.slots.wait(delivery.taken_at + delivery.wait_s):
            return GiveBack()
        if self._is_revoked():
            return self._revoked()
        if command.expires_at is not None and delivery.now() >= command.expires_at:
            return self._expired()
        return None

    async def _call(self, command: ReceivedCommand, account: Account) -> Ending:
        """Sign and send, and judge the answer; a call that would leave late goes back for another slot."""
        job, delivery = self._job, self._job.delivery
        protocol = PROTOCOLS[account.vendor]
        request = protocol.build(command.operation, account, now=datetime.now(UTC), nonce=str(uuid4()))
        now = time.monotonic()
        # Counted from before the take too: this process may have stood still between Redis' answer and the reading of
        # the clock. Later than that, the call could end after its lease.
        late_at_most = now - delivery.asked_at - delivery.wait_s
        if now - delivery.taken_at - delivery.wait_s > LATE_S or late_at_most > SPARE.total_seconds():
            job.log.debug("its slot is over")
            return GiveBack()
        self._sent()
        self._on_call()
        job.is_called, job.history = True, replace(job.history, calls=job.history.calls + 1, in_doubt=True)
        try:
            response = await self._worker.transport.send(request)
            answer, sent_at = protocol.parse(command.operation, response), response.sent_at
        except TransportFault as fault:
            answer, sent_at = replace(fault.answer, in_doubt=fault.sent_at is not None), fault.sent_at
        if sent_at is not None:
            # Measured from before the take: the slot's exact moment inside that round trip is unknown.
            late = timedelta(seconds=sent_at - delivery.asked_at - delivery.wait_s)
            job.send_delay = SendDelay(max(late, timedelta(0)), delivery.taken.slots_shifted_us)
        return await self._judge(command, answer)

    async def _judge(self, command: ReceivedCommand, answer: Answer) -> Ending:
        """Return what becomes of the job after the vendor's answer."""
        job, kind = self._job, command.operation.spec.kind
        ending = judge(answer, kind, job.delivery.taken.history, self._worker.backoff, self._worker.random)
        job.history = ending.history
        if not answer.known:
            log_of(job, ending.history, answer).error("unknown code: treated as transient")
        if not isinstance(ending, Finish):
            if await self._was_cancelled():
                return Finish(Result.CANCELLED, ending.history, LastCall.FAULT, answer)
        elif ending.result is Result.STATUS and job.membership is not None:
            outcome = outcome_of(job, ending)
            if still_running(job.membership, outcome, job.delivery.now()):
                unfailing = replace(ending.history, attempts=ending.history.attempts - 1)
                return Retry(ASK_AGAIN, unfailing, "the vendor says that it still runs", LastCall.WELL)
        return ending

    async def _was_cancelled(self) -> bool:
        """Whether the shutdown that the job is part of was cancelled while its call was under way."""
        membership = self._job.membership
        if membership is None:
            return False
        return await asyncio.to_thread(self._worker.shutdowns.was_cancelled, membership.shutdown)

    def _is_revoked(self) -> bool:
        return self._worker.is_revoked(self._job.delivery.taken.job_id)

    def _revoked(self) -> Ending:
        return uncalled(Result.CANCELLED, self._job.history, "revoked by Celery's remote control")

    def _expired(self) -> Ending:
        return uncalled(Result.EXPIRED, self._job.history, "the command expired before its call")

    def _left(self, problem: str) -> Ending:
        """Let the job wait for a worker that knows what this one does not; refuse it where none has come."""
        retry = left(self._job.history, problem, self._job.delivery.now())
        if retry is None:
            return uncalled(Result.REFUSED, self._job.history, problem)
        self._job.log.warning("left to another worker", problem=problem)
        return retry
