"""Reports: what became of jobs that a worker took, as the script ``report`` reads them.

::

    Report ─┬─ Ended       the job has its outcome
            ├─ Retried     it waits, then it is called again
            ├─ Throttled   it is back at the front of its lane, and the lane rests
            ├─ Released    it is back at the front of its lane, uncalled
            ├─ Dropped     it had ended before it was taken
            └─ Renewed     it is still being worked on
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from streamstop._core.lane_types import (
    ON_TIME,
    AttemptHistory,
    DeadLetterRecord,
    LastCall,
    MemberResult,
    Queued,
    SendDelay,
    Taken,
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of one job. One of the kinds below."""

    kind: ClassVar[str]

    job: Taken
    call: LastCall = LastCall.NONE
    send_delay: SendDelay = ON_TIME

    def text(self) -> str:
        """Return the report as the script reads it: JSON."""
        job = self.job
        fields = {
            "kind": self.kind,
            "lane": job.lane.name,
            "id": job.job_id,
            "owner": job.owner,
            "slot": job.slot_us,
            "call": self.call.value,
            "late": _us(self.send_delay.late),
            "moved": self.send_delay.slots_shifted_us,
            **self._details(),
        }
        return json.dumps(fields, separators=(",", ":"))

    def _details(self) -> Mapping[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Ended(Report):
    """The job has ended: its outcome is recorded, its stream task counted, its lease dropped, in one step."""

    kind = "end"

    #: In Celery's result backend, and how long it can be read there.
    record: str
    kept: timedelta
    member_result: MemberResult | None = None
    #: The job that follows this one, put into its lane in the same step.
    then: Queued | None = None
    letter: DeadLetterRecord | None = None

    def _details(self) -> Mapping[str, Any]:
        details: dict[str, Any] = {"record": self.record, "ttl": int(self.kept.total_seconds())}
        if self.member_result is not None:
            details["member_result"] = self.member_result.fields
        if self.then is not None:
            then = self.then
            details["next"] = {"list": then.list, "lane": then.lane.name, "message": then.message}
        if self.letter is not None:
            details["dead"] = self.letter.fields
        return details


@dataclass(frozen=True, kw_only=True)
class Retried(Report):
    """The job waits in Redis for `delay`, then in its lane again."""

    kind = "retry"

    delay: timedelta
    history: AttemptHistory
    record: str
    kept: timedelta

    def _details(self) -> Mapping[str, Any]:
        return {
            "delay": _us(self.delay),
            "history": str(self.history),
            "record": self.record,
            "ttl": int(self.kept.total_seconds()),
        }


@dataclass(frozen=True, kw_only=True)
class Throttled(Report):
    """The vendor throttled the call: the job is unharmed, and its lane rests, for `hint` where the vendor gave one."""

    kind = "throttle"

    hint: timedelta | None
    history: AttemptHistory

    def _details(self) -> Mapping[str, Any]:
        return {"hint": _us(self.hint or timedelta(0)), "history": str(self.history)}


@dataclass(frozen=True, kw_only=True)
class Released(Report):
    """The job was not called, and somebody else may take it at once."""

    kind = "release"

    #: The job's history, where it has changed.
    history: AttemptHistory | None = None

    def _details(self) -> Mapping[str, Any]:
        return {} if self.history is None else {"history": str(self.history)}


@dataclass(frozen=True, kw_only=True)
class Dropped(Report):
    """The job had ended before it was taken, and that is counted: nothing of it is left to do."""

    kind = "drop"

    def _details(self) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Renewed(Report):
    """The job is still being worked on, for `lease` from now at most."""

    kind = "renew"

    lease: timedelta

    def _details(self) -> Mapping[str, Any]:
        return {"lease": _us(self.lease)}


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
