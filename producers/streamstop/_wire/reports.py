"""Reports: what happened to the jobs that a worker took, as the script ``report`` reads them.

::

    Report ─┬─ Ended       the job has its outcome
            ├─ Retried     the job is deferred, and is called again later
            ├─ Throttled   the job returns to the front of its lane, and the lane rests
            ├─ Released    the job returns to the front of its lane, uncalled
            ├─ Dropped     the job had ended before it was taken
            └─ Renewed     the worker still works on the job
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from streamstop._core.answers import CallAnswer
from streamstop._core.lane_types import (
    ON_TIME,
    AttemptHistory,
    CallError,
    DeadLetterRecord,
    LastCall,
    MemberResult,
    Queued,
    SendDelay,
    Taken,
)
from streamstop._core.stream_tasks import TaskNote


@dataclass(frozen=True)
class KeptAnswer:
    """An answer after which the job goes on, and how long Redis keeps it."""

    answer: CallAnswer
    kept: timedelta

    @property
    def fields(self) -> dict[str, Any]:
        """As the script takes it."""
        return {"text": str(self.answer), "ttl": int(self.kept.total_seconds())}


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
    """What happened to one job: one of the kinds below."""

    kind: ClassVar[str]

    job: Taken
    call: LastCall = LastCall.NONE
    send_delay: SendDelay = ON_TIME
    #: The answer of the last call, if it was no success.
    error: CallError | None = None
    #: The same answer, for people who look at the job. It is kept if the job goes on.
    answered: KeptAnswer | None = None

    def text(self) -> str:
        """Return the report as JSON for the script."""
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
            **({} if self.error is None else {"error": self.error.fields}),
            **({} if self.answered is None else {"answered": self.answered.fields}),
            **self._details(),
        }
        return json.dumps(fields, separators=(",", ":"))

    @abstractmethod
    def _details(self) -> Mapping[str, Any]:
        """Return the fields of this kind."""


@dataclass(frozen=True, kw_only=True)
class Ended(Report):
    """The job has ended. One step records its outcome, counts its stream task and ends its lease."""

    kind = "end"

    #: The record for Celery's result backend, and how long it is kept there.
    record: str
    kept: timedelta
    member_result: MemberResult | None = None
    #: The job that follows this one. The same step puts it into its lane.
    then: Queued | None = None
    letter: DeadLetterRecord | None = None
    #: The vendor refused the account's key: if that holds the account, the job does not end, and waits again with this
    #: history.
    if_held: AttemptHistory | None = None
    note: TaskNote | None = None
    #: The key of the job's unique command, which the same step deletes.
    unique: str | None = None

    def _details(self) -> Mapping[str, Any]:
        details: dict[str, Any] = {"record": self.record, "ttl": int(self.kept.total_seconds())}
        if self.member_result is not None:
            details["member_result"] = self.member_result.fields
        if self.then is not None:
            then = self.then
            details["next"] = {"list": then.list, "lane": then.lane.name, "message": then.message}
        if self.letter is not None:
            details["dead"] = self.letter.fields
        if self.if_held is not None:
            details["if_held"] = str(self.if_held)
        if self.unique is not None:
            details["unique"] = self.unique
        return details | _noted(self.note)


@dataclass(frozen=True, kw_only=True)
class Retried(Report):
    """The job is deferred: after `delay` it returns to its lane."""

    kind = "retry"

    delay: timedelta
    history: AttemptHistory
    record: str
    kept: timedelta
    note: TaskNote | None = None

    def _details(self) -> Mapping[str, Any]:
        return {
            "delay": _us(self.delay),
            "history": str(self.history),
            "record": self.record,
            "ttl": int(self.kept.total_seconds()),
            **_noted(self.note),
        }


@dataclass(frozen=True, kw_only=True)
class Throttled(Report):
    """The vendor throttled the call. The job keeps its attempts. Its lane rests, for `hint` if the vendor gave one."""

    kind = "throttle"

    hint: timedelta | None
    history: AttemptHistory

    def _details(self) -> Mapping[str, Any]:
        return {"hint": _us(self.hint or timedelta(0)), "history": str(self.history)}


@dataclass(frozen=True, kw_only=True)
class Released(Report):
    """The job was not called. Any worker may take it at once."""

    kind = "release"

    #: The job's history, if it has changed.
    history: AttemptHistory | None = None

    def _details(self) -> Mapping[str, Any]:
        return {} if self.history is None else {"history": str(self.history)}


@dataclass(frozen=True, kw_only=True)
class Dropped(Report):
    """The job had ended before it was taken, and its stream task is counted. Nothing is left to do."""

    kind = "drop"

    def _details(self) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Renewed(Report):
    """The worker still works on the job. The lease is extended to `lease` from now."""

    kind = "renew"

    lease: timedelta

    def _details(self) -> Mapping[str, Any]:
        return {"lease": _us(self.lease)}


def _noted(note: TaskNote | None) -> dict[str, Any]:
    return {} if note is None else {"note": {"key": note.key, "text": str(note)}}


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
