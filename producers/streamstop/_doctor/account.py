"""Check of an account's key: one status command, for a stream task that cannot exist, goes through the queue."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any
from uuid import uuid4

from streamstop._core.backend import Backend, WaitInterval
from streamstop._core.commands import Command
from streamstop._core.findings import ACCOUNT_CHECK, Finding, ok, problem
from streamstop._core.lane import Lane
from streamstop._doctor.controls import hold_finding, pause_text
from streamstop._redis.errors import ERRORS, is_forbidden
from streamstop.errors import NotCancellable, QueueUnavailable, UnknownAccount, UnknownDeadLetter
from streamstop.jobs import Job
from streamstop.operations import OPERATIONS, Meaning, Operation
from streamstop.operations.aliyun import GetMPUTaskStatus
from streamstop.operations.tencent import DescribeStreamIngest
from streamstop.outcomes import Outcome, Result

#: Codes that refuse the right to call, and no key.
_NO_PERMISSION = ("Forbidden*", "NoPermission*", "UnauthorizedOperation*", "AuthFailure.UnauthorizedOperation")


def _probe(vendor: str) -> Operation:
    """Return a status operation for a stream task that cannot exist."""
    name = f"streamstop-doctor-{uuid4().hex[:12]}"
    probes: Mapping[str, Operation] = {
        "aliyun": GetMPUTaskStatus(app_id="streamstop", task_id=name),
        "tencent": DescribeStreamIngest(sdk_app_id=1, task_id=name),
    }
    return probes[vendor]


def check_account(backend: Backend, account: str, timeout: timedelta) -> Iterator[Finding | WaitInterval]:
    """Check that the vendor accepts the account's key. Pause while the command is under way, `timeout` at most."""
    with backend.reaching("the account could not be checked"):
        try:
            vendor = backend.vendor_of(account)
        except UnknownAccount as unknown:
            yield problem(ACCOUNT_CHECK, str(unknown), "start a worker whose accounts file has it", account=account)
            return
        if vendor is None:
            yield problem(ACCOUNT_CHECK, "no worker runs, so no key can be checked", "start a worker", account=account)
            return
        command = Command(operation=_probe(vendor), account=account, expires_in=timeout)
        if (held_back := _held_back(backend, command.lane, timeout)) is not None:
            yield held_back
            return
        job = Job(command.lane.new_job_id(), backend)
        backend.enqueue([(job.id, command)], now=backend.now(), perhaps="the account was not checked")
    outcome = None
    with backend.following("the account was not checked"):
        for step in backend.outcomes([job.id], timeout):
            if isinstance(step, WaitInterval):
                yield step
            else:
                outcome = step
    yield _no_answer(backend, command.lane, timeout, job) if outcome is None else judge_answer(outcome)
    with suppress(UnknownDeadLetter, QueueUnavailable), backend.reaching("a dead letter of the check is left"):
        if outcome is not None and outcome.result.needs_person:
            backend.dead.drop(job.id)  # nobody has to look at it


def judge_answer(outcome: Outcome) -> Finding:
    """Return what the vendor's answer tells about the account's key."""
    account, code = outcome.account, outcome.code or ""
    answer = ": ".join(part for part in (outcome.code, outcome.message) if part)
    facts: dict[str, Any] = {
        "account": account,
        "operation": outcome.operation,
        "code": outcome.code,
        "request_id": outcome.request_id,
    }
    meaning = OPERATIONS[outcome.operation].spec.meaning(code)
    if any(fnmatchcase(code, pattern) for pattern in _NO_PERMISSION):
        text = f"the key of {account} is valid, and has no permission for {outcome.operation} ({answer})"
        return problem(ACCOUNT_CHECK, text, "grant the key's user the permission at the vendor", **facts)
    if meaning is Meaning.SIGN_AGAIN:
        text = f"the vendor says that the time of {account}'s signature is wrong ({answer})"
        return problem(ACCOUNT_CHECK, text, "set the clocks of the workers' machines by NTP", **facts)
    if meaning is Meaning.KEY_REFUSED:
        do = "put a valid key into the accounts file, and send the workers SIGHUP"
        return problem(ACCOUNT_CHECK, f"the vendor refuses the key of {account} ({answer})", do, **facts)
    if outcome.result in {Result.GAVE_UP, Result.EXPIRED}:
        do = "see whether the vendor is down, and whether the workers' machines reach its endpoint"
        return problem(
            ACCOUNT_CHECK, f"the vendor of {account} gave no answer ({outcome.result}: {answer})", do, **facts
        )
    text = f"the key of {account} is valid and may call {outcome.operation}"
    if outcome.enqueued_at is not None and outcome.ended_at is not None:
        facts["seconds"] = round((outcome.ended_at - outcome.enqueued_at).total_seconds(), 3)
        text += f"; the answer came {facts['seconds']:.2f} s after the command"
    return ok(ACCOUNT_CHECK, text, **facts)


def _held_back(backend: Backend, lane: Lane, within: timedelta | None) -> Finding | None:
    """Return the pause or the hold of `lane`; None: there is none, or this Redis user may not see it.

    With `within`, a hold whose next probe is due by then is none: the command may be the probe.
    """
    try:
        controls, now = backend.controls.read(), backend.now()
    except ERRORS as error:
        if is_forbidden(error):
            return None
        raise
    if (pause := controls.pause_of(lane)) is not None:
        do = f"resume it, and examine the account again: streamstop resume {pause.scope}"
        text = f"the key of {lane.account} cannot be checked: {pause_text(pause, now)}"
        return problem(ACCOUNT_CHECK, text, do, account=lane.account)
    hold = controls.hold_of(lane)
    if hold is None or (within is not None and (hold.next_probe or now) <= now + within):
        return None
    return hold_finding(ACCOUNT_CHECK, hold, now)


def _no_answer(backend: Backend, lane: Lane, timeout: timedelta, job: Job) -> Finding:
    """Cancel the command, and return why there was no answer."""
    with suppress(NotCancellable, QueueUnavailable):
        job.cancel()
    with backend.reaching("why there was no answer is not known"):
        held_back = _held_back(backend, lane, None)
    if held_back is not None:
        return held_back
    text = f"the command that checks {lane.account} got no answer within {timeout.total_seconds():g} s"
    do = f"see what its lane does: streamstop lanes {lane.account}"
    return problem(ACCOUNT_CHECK, text, do, account=lane.account)
