"""Hold: what one delivery has of its job, from the claim to the report."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import uuid4

import structlog

from streamstop.lanes import (
    ON_TIME,
    UNREACHABLE,
    Claim,
    Lane,
    Lanes,
    LastCall,
    Lateness,
    Letter,
    Pace,
    Queued,
    Settlement,
    Tries,
)
from streamstop.results import Deferral, deferral_record

_T = TypeVar("_T")

#: How long a job waits for a worker that knows more than this one, at a time and in all.
NEWER = timedelta(seconds=5)
LONGEST_LEFT = timedelta(minutes=10)
#: How long to wait before a report that Redis did not take is made again; the sum is within every lease.
REPORT_AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.6)

_log = structlog.get_logger("streamstop")


class Hold:
    """One delivery's hold on its job: a claim that is its own, and the report that ends it.

    Raises `UNREACHABLE` errors. A report is made again for a while first: the vendor has been called, and the lease
    still runs.
    """

    def __init__(
        self, lanes: Lanes, lane: Lane, pace: Pace, job_id: str, lease: timedelta, *, owner: str | None = None
    ) -> None:
        self._lanes = lanes
        self._lane = lane
        self._pace = pace
        self._job_id = job_id
        self._lease = lease
        self._owner = owner or uuid4().hex
        #: How late the last call left, to be told with the report.
        self.lateness: Lateness = ON_TIME

    def claim(self, expires_at: datetime | None = None, *, to_call: bool = True) -> Claim:
        """Claim the job, or claim it again for another slot; one that is not `to_call` takes no slot of its lane."""
        return self._lanes.claim(
            self._lane,
            self._pace,
            self._job_id,
            owner=self._owner,
            lease=self._lease,
            expires_at=expires_at,
            to_call=to_call,
        )

    def finish(
        self,
        record: str,
        call: LastCall,
        *,
        settlement: Settlement | None = None,
        then: Queued | None = None,
        letter: Letter | None = None,
    ) -> bool:
        """Record the job's end; see :meth:`Lanes.finish`. False where another has the job by now."""
        finished = self._report(
            lambda: self._lanes.finish(
                self._lane,
                self._pace,
                self._job_id,
                owner=self._owner,
                record=record,
                call=call,
                settlement=settlement,
                then=then,
                letter=letter,
                lateness=self.lateness,
            )
        )
        # An earlier report may have been taken, and only Redis' answer to it was lost.
        return finished or self._lanes.record_of(self._job_id) == record.encode()

    def defer(self, deferral: Deferral, delay: timedelta, tries: Tries, call: LastCall) -> timedelta | None:
        """Let the job wait for `delay`; see :meth:`Lanes.defer`."""
        record = deferral_record(self._job_id, deferral)
        return self._report(
            lambda: self._lanes.defer(
                self._lane,
                self._pace,
                self._job_id,
                owner=self._owner,
                delay=delay,
                tries=tries,
                record=record,
                call=call,
                lateness=self.lateness,
            )
        )

    def leave(self, claim: Claim, problem: str) -> Deferral | None:
        """Let the job wait for a worker that knows what this one does not; None where none has come in ten minutes."""
        now_s = int(claim.at.timestamp())
        since_s = claim.tries.left or now_s
        if now_s - since_s > LONGEST_LEFT.total_seconds():
            return None
        deferral = Deferral(f"left to another worker: {problem}", claim.at + NEWER)
        self.defer(deferral, NEWER, replace(claim.tries, left=since_s), LastCall.NONE)
        return deferral

    def pause(self, tries: Tries, hint: timedelta | None) -> timedelta | None:
        """Put the job back and rest its lane; see :meth:`Lanes.pause`."""
        return self._report(
            lambda: self._lanes.pause(
                self._lane,
                self._pace,
                self._job_id,
                owner=self._owner,
                tries=tries,
                hint=hint,
                lateness=self.lateness,
            )
        )

    def give_back(self) -> None:
        """Give the job back to its lane, uncalled."""
        self._lanes.release(self._lane, self._pace, self._job_id, owner=self._owner)

    def _report(self, report: Callable[[], _T]) -> _T:
        for delay_s in REPORT_AGAIN_S:
            try:
                return report()
            except UNREACHABLE as error:
                _log.warning(
                    "Redis did not take the report; it is made again",
                    job_id=self._job_id,
                    account=self._lane.account,
                    operation=self._lane.operation,
                    error=type(error).__name__,
                )
            time.sleep(delay_s)
        return report()
