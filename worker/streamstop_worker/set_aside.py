"""Set aside: jobs whose message no worker can begin end here: recorded, counted and kept as dead letters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from streamstop.commands import TASK
from streamstop.dead import letter_of
from streamstop.lanes import Claimed, Lane, Lanes, LastCall
from streamstop.messages import argument_of
from streamstop.outcomes import Outcome, Result
from streamstop.results import outcome_record
from streamstop.rooms import Membership
from streamstop_worker.accounts import Accounts
from streamstop_worker.hold import Hold
from streamstop_worker.pacing import pace_of
from streamstop_worker.shutdowns import settlement_of

_log = structlog.get_logger("streamstop")


#: Headers of Celery's that a lane has no use for, each of which ends the consumer if it is not what Celery expects.
_NOT_SERVED: Mapping[str, tuple[object, ...]] = {
    "eta": (None,),
    "expires": (None,),
    "timelimit": (None, [None, None]),
    "stamped_headers": (None, []),
}


def problem_of(headers: object, payload: object) -> str | None:
    """Return why Celery could not begin a message with this body, None where it can."""
    if not isinstance(headers, Mapping) or headers.get("task") != TASK or not isinstance(headers.get("id"), str):
        return "its headers do not name the task and a job's id"
    for name, unsaid in _NOT_SERVED.items():
        if headers.get(name) not in unsaid:
            return f"its header {name} is not served; a command says itself when it expires, as expires_at"
    match payload:
        case [list() | tuple(), dict(), dict() | None]:
            return None
        case _:
            return "its body is not a list of arguments, keyword arguments and options"


@dataclass(frozen=True)
class SetAside:
    """Ends jobs that cannot be begun. Raises `UNREACHABLE` errors; the jobs' leases mend what they leave."""

    lanes: Lanes
    accounts: Accounts
    #: How long a claimed job may take to be reported.
    lease: timedelta

    def refuse(self, lane: Lane, job_id: str, reason: str) -> None:
        """End a job that was just delivered, and whose message cannot be read."""
        hold = self._hold(lane, job_id)
        if hold.claim(to_call=False).what is Claimed.GO:
            self._end(hold, lane, job_id, None, Result.REFUSED, f"a worker cannot begin it: {reason}")

    def give_up(self, lane: Lane, job_id: str, message: bytes, *, owner: str) -> None:
        """End a job of `owner`, the sweep's, that vanished in one worker after the other before any claimed it."""
        hold, command = self._hold(lane, job_id, owner), argument_of(message)
        self._end(hold, lane, job_id, command, Result.GAVE_UP, "workers took its message and could not begin it")

    def _hold(self, lane: Lane, job_id: str, owner: str | None = None) -> Hold:
        pace = pace_of(lane, self.accounts.get(lane.account))
        return Hold(self.lanes, lane, pace, job_id, self.lease, owner=owner)

    @staticmethod
    def _end(hold: Hold, lane: Lane, job_id: str, command: object, result: Result, reason: str) -> None:  # noqa: PLR0917
        outcome = Outcome(
            result=result,
            job_id=job_id,
            account=lane.account,
            operation=lane.operation,
            message=reason,
            ended_at=datetime.now(UTC),
        )
        membership = Membership.of_message(command)
        settlement = None if membership is None else settlement_of(membership, outcome)
        letter = letter_of(command, membership, outcome, settlement)
        hold.finish(outcome_record(outcome), LastCall.NONE, settlement=settlement, letter=letter)
        _log.error("a message that workers cannot begin was set aside", lane=lane.name, job_id=job_id, reason=reason)


def set_aside_of(message: Any, set_aside: SetAside) -> bool:
    """Return whether kombu's `message` cannot be begun; then its job has ended, or its lease will end it."""
    try:
        payload = message.payload
    except Exception as error:  # noqa: BLE001  # whatever a decoder raises on what anybody may have sent
        problem: str | None = f"its body cannot be decoded ({type(error).__name__})"
    else:
        problem = problem_of(message.headers, payload)
    if problem is None:
        return False
    info, headers = (part if isinstance(part, Mapping) else {} for part in (message.delivery_info, message.headers))
    job_id = str(headers.get("id"))
    lane = Lane.from_queue(str(info.get("routing_key"))) or Lane.of_job(job_id)
    if lane is None:
        _log.error("a message did not come through a lane", job_id=job_id)
    else:
        set_aside.refuse(lane, job_id, problem)
    return True
