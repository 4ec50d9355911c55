"""Execute: the pipeline that one delivered job runs through.

::

    claim ──▶ wait for the slot ──▶ sign, send ──▶ judge ──▶ finish │ defer │ pause

A job that may not run here and now is given back to its lane; none waits in a worker but for a slot that is near.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never
from uuid import uuid4

import structlog

from streamstop.commands import ReceivedCommand
from streamstop.dead import letter_of
from streamstop.errors import InvalidCommand, NewerMessage, UnknownAccount, UnknownOperation
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import MOST_LAPSES, Claim, Claimed, Lane, Lanes, LastCall, Lateness, Tries
from streamstop.operations import Operation
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral, outcome_record
from streamstop.rooms import Membership
from streamstop_worker.accounts import Account, Accounts
from streamstop_worker.hold import Hold
from streamstop_worker.pacing import pace_of
from streamstop_worker.retry import Backoff
from streamstop_worker.settings import SPARE
from streamstop_worker.shutdowns import ASK_AGAIN, Shutdowns, after, still_running
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Answer
from streamstop_worker.verdicts import Defer, Finish, Pause, judge

#: How late a job may wake for its slot and still use it; the lane makes up for what the headroom does not cover.
LATE = timedelta(milliseconds=50)
#: How long a job waits whose account this worker does not have, and another has.
ELSEWHERE = timedelta(seconds=1)


@dataclass(frozen=True)
class Delivery:
    """A message as Celery delivers it: which job, out of which lane, and the command's JSON data."""

    job_id: str
    lane: Lane
    message: object


#: What became of a delivery: the job has ended, or is deferred, or is no longer this worker's.
Report = Outcome | Deferral | None


@dataclass(frozen=True)
class Executor:
    """Runs deliveries; one a worker, shared by its threads."""

    lanes: Lanes
    shutdowns: Shutdowns
    accounts: Accounts
    known_accounts: KnownAccounts
    transport: Transport
    #: How long after its slot a claimed job must have reported.
    lease: timedelta
    random: Callable[[], float]
    backoff: Backoff = field(default_factory=Backoff)
    #: Set when the worker shuts down: what has not been sent goes back to its lane.
    draining: threading.Event = field(default_factory=threading.Event)

    def execute(self, delivery: Delivery) -> Report:
        """Carry a job as far as it goes now. Raises `UNREACHABLE` errors; its lease mends what they leave."""
        return _Execution(self, delivery).run()


class NobodysAccount(InvalidCommand):
    """No running worker has the account; one that has it may be starting."""


class _Execution:
    """One delivery on its way through the pipeline."""

    def __init__(self, worker: Executor, delivery: Delivery) -> None:
        self._worker = worker
        self._lanes = worker.lanes
        self._lane = delivery.lane
        self._job_id = delivery.job_id
        self._message = delivery.message
        self._account = worker.accounts.get(delivery.lane.account)
        pace = pace_of(delivery.lane, self._account)
        self._hold = Hold(worker.lanes, delivery.lane, pace, delivery.job_id, worker.lease)
        self._command: ReceivedCommand | None = None
        self._membership = Membership.of_message(delivery.message)
        self._log = structlog.get_logger("streamstop").bind(
            job_id=delivery.job_id, account=delivery.lane.account, operation=delivery.lane.operation
        )

    def run(self) -> Report:
        if self._worker.draining.is_set():
            self._give_back()
            return None
        try:
            self._command = command = ReceivedCommand.from_message(self._message)
            account = self._account_for(command)
        except (NewerMessage, UnknownOperation, NobodysAccount) as problem:
            return self._leave(str(problem))
        except InvalidCommand as problem:
            return self._refuse(str(problem))
        if account is None:
            return self._leave_to_another_worker()
        return self._call(command, account)

    def _account_for(self, command: ReceivedCommand) -> Account | None:
        """Return the account of `command`; None: another worker has it. Raises InvalidCommand where none can serve."""
        if command.lane != self._lane:
            raise InvalidCommand(f"the command is for lane {command.lane.name}, and came through {self._lane.name}")
        if self._account is None:
            try:
                known = self._worker.known_accounts.vendor_of(self._lane.account)
            except UnknownAccount as problem:
                raise NobodysAccount(str(problem)) from None
            if known is None:
                raise NobodysAccount(f"no running worker has account {self._lane.account!r}")
            return None
        vendor = command.operation.spec.product.vendor.name
        if self._account.vendor != vendor:
            raise UnknownAccount(f"account {self._account.name!r} is at {self._account.vendor}, not at {vendor}")
        return self._account

    def _call(self, command: ReceivedCommand, account: Account) -> Report:
        """Claim, wait for the slot, sign and send; a call that would leave late claims again."""
        protocol = PROTOCOLS[account.vendor]
        while True:
            asked_at = time.monotonic()
            claim = self._hold.claim(command.expires_at)
            claimed_at = time.monotonic()
            match claim.what:
                case Claimed.STALE | Claimed.PARKED:
                    self._not_claimed(claim)
                    return None
                case Claimed.EXPIRED:
                    return self._end_uncalled(claim, Result.EXPIRED, "the command expired before its call")
                case Claimed.GO if claim.tries.lapses >= MOST_LAPSES:
                    return self._end_uncalled(claim, Result.GAVE_UP, f"lost with its worker {claim.tries.lapses} times")
                case Claimed.GO:
                    pass
                case _:
                    assert_never(claim.what)
            if self._worker.draining.wait(claim.wait.total_seconds()):
                self._give_back()
                return None
            request = protocol.build(command.operation, account, now=datetime.now(UTC), nonce=str(uuid4()))
            now = time.monotonic()
            # Counted from before the claim too: this process may have stood still between Redis' answer and the reading
            # of the clock. Later than that, the call could end after its lease.
            late_at_most = timedelta(seconds=now - asked_at) - claim.wait
            if timedelta(seconds=now - claimed_at) - claim.wait <= LATE and late_at_most <= SPARE:
                break
        try:
            response = self._worker.transport.send(request)
            answer, sent_at = protocol.parse(command.operation, response), response.sent_at
        except TransportFault as fault:
            answer, sent_at = replace(fault.answer, in_doubt=fault.sent_at is not None), fault.sent_at
        if sent_at is not None:
            # From before the claim: how soon after it the slot was given, nobody here can tell.
            late = timedelta(seconds=sent_at - asked_at) - claim.wait
            self._hold.lateness = Lateness(max(late, timedelta(0)), claim.moved_us)
        ended_at = claim.at + timedelta(seconds=time.monotonic() - claimed_at)
        return self._apply(command.operation, claim.tries, answer, ended_at)

    def _apply(self, operation: Operation, tries: Tries, answer: Answer, now: datetime) -> Report:
        """Make the verdict on `answer` come true."""
        verdict = judge(answer, operation.spec.kind, tries, self._worker.backoff, self._worker.random)
        log = self._log_of(verdict.tries, answer.code, answer.message, answer.request_id)
        if not answer.known:
            log.error("unknown code: treated as transient")
        if not isinstance(verdict, Finish) and self._was_cancelled():
            return self._finish(self._outcome(Result.CANCELLED, verdict.tries, answer, now), LastCall.FAULT)
        match verdict:
            case Finish(result, tries, call):
                told = _told(operation, answer.reply) if result is Result.STATUS else {}
                outcome = self._outcome(result, tries, answer, now, **told)
                if still_running(self._membership, outcome, now):
                    deferral = Deferral("the vendor says that it still runs", now + ASK_AGAIN)
                    unfailing = replace(tries, attempts=tries.attempts - 1)
                    return self._defer(deferral, ASK_AGAIN, unfailing, LastCall.WELL)
                return self._finish(outcome, call)
            case Defer(delay, tries, fault):
                deferral = Deferral(": ".join(part for part in (answer.code, answer.message) if part), now + delay)
                rest = self._hold.defer(deferral, delay, tries, LastCall.FAULT if fault else LastCall.WELL)
                log.info("deferred", delay_s=round(delay.total_seconds(), 3))
                if rest:
                    log.warning("the lane is failing and rests", rest_s=rest.total_seconds())
                return deferral if rest is not None else None
            case Pause(hint, tries):
                rest = self._hold.pause(tries, hint)
                log.warning("throttled: the lane rests", rest_s=rest and round(rest.total_seconds(), 3))
                return None
            case _:
                assert_never(verdict)

    def _was_cancelled(self) -> bool:
        """Whether the shutdown that the job is part of was cancelled while its call was under way."""
        return self._membership is not None and self._worker.shutdowns.was_cancelled(self._membership.shutdown)

    def _finish(self, outcome: Outcome, call: LastCall) -> Report:
        record = outcome_record(outcome)
        tries = Tries(outcome.attempts, outcome.calls)
        log = self._log_of(tries, outcome.code, outcome.message, outcome.request_id)
        follows = after(self._membership, self._command, outcome, outcome.ended_at or datetime.now(UTC))
        letter = None
        if follows.then is None:
            understood = self._command is not None
            letter = letter_of(self._message, self._membership, outcome, follows.settlement, understood=understood)
        if not self._hold.finish(record, call, settlement=follows.settlement, then=follows.then, letter=letter):
            log.warning("not recorded, for the lease had run out", result=outcome.result.value)
            return None
        (log.warning if outcome.result.needs_person else log.info)(outcome.result.value, params=outcome.params)
        counted = follows.settlement
        if counted is not None and counted.result != outcome.result.value:  # what verifying the stop has shown
            (log.warning if counted.attention else log.info)(counted.result, member=counted.member)
        return outcome

    def _defer(self, deferral: Deferral, delay: timedelta, tries: Tries, call: LastCall) -> Report:
        """Let the job wait for what is nobody's fault."""
        return deferral if self._hold.defer(deferral, delay, tries, call) is not None else None

    def _outcome(self, result: Result, tries: Tries, answer: Answer, now: datetime, **told: Any) -> Outcome:
        return Outcome(
            result=result,
            job_id=self._job_id,
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

    def _log_of(self, tries: Tries, code: str | None, message: str | None, request_id: str | None) -> Any:
        said = {key: value for key, value in (("code", code), ("message", message)) if value is not None}
        return self._log.bind(attempt=tries.attempts, calls=tries.calls, request_id=request_id, **said)

    def _end_uncalled(self, claim: Claim, result: Result, reason: str) -> Report:
        answer = Answer(None, message=reason)
        return self._finish(self._outcome(result, claim.tries, answer, claim.at), LastCall.NONE)

    def _refuse(self, reason: str) -> Report:
        claim = self._hold.claim(to_call=False)
        return self._end_uncalled(claim, Result.REFUSED, reason) if claim.what is Claimed.GO else None

    def _leave_to_another_worker(self) -> Report:
        claim = self._hold.claim(to_call=False)
        if claim.what is not Claimed.GO:
            return None
        deferral = Deferral("this worker does not have the account, and another has", claim.at + ELSEWHERE)
        self._log.info("left to another worker: the account is not in this one's file")
        return self._defer(deferral, ELSEWHERE, claim.tries, LastCall.NONE)

    def _leave(self, problem: str) -> Report:
        """Let the job wait for a worker that may know what to do; refuse it where none has come."""
        claim = self._hold.claim(to_call=False)
        if claim.what is not Claimed.GO:
            return None
        deferral = self._hold.leave(claim, problem)
        if deferral is None:
            return self._end_uncalled(claim, Result.REFUSED, problem)
        self._log.warning("left to another worker", problem=problem)
        return deferral

    def _not_claimed(self, claim: Claim) -> None:
        """Leave a job that is not to be called here and now; one that was cancelled counts in its shutdown."""
        self._log.debug("not to be called here and now", claim=claim.what.value)
        if claim.what is Claimed.STALE and self._membership is not None:
            self._worker.shutdowns.settle_ended(self._lane, self._membership, self._lanes.record_of(self._job_id))

    def _give_back(self) -> None:
        self._hold.give_back()
        self._log.debug("given back: the worker is shutting down")


def _told(operation: Operation, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an outcome keeps of a status reply: the status, or all of it where there is no single one."""
    status = operation.spec.status
    return {"reply": dict(reply)} if status is None else {"status": status.read(reply)}
