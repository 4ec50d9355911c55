"""Causes of repeated calls: each further call is matched with the faults that can explain it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamstop_simulator import Call
from tests.torture.chronicle import Happened
from tests.torture.schedule import BY_RESUMING, Kind

#: What Redis answered so shortly before it was killed may not be on its disk: a running fsync delays the write.
UNWRITTEN_S = 2.0
#: By how much a call may seem to arrive before its note.
_SLACK_S = 0.005
#: If delays of calls differ by more than this, a fortieth of a second, calls can arrive too close to each other.
UNEVEN_S = 0.025
_OF_REDIS = {Kind.REDIS, Kind.CUT_REDIS, Kind.HALF_OPEN_REDIS, Kind.SLOW_REDIS}
_KILLS = {Kind.KILL, Kind.KILL_AT}
_JUMPS = {Kind.CLOCK, Kind.CLOCK_BACK}


@dataclass(frozen=True)
class Made:
    """A call as the simulator saw it, with the note of the worker that made it."""

    call: Call
    #: None if no note fits.
    note: Mapping[str, Any] | None
    #: The fault that the worker met instead of an answer, if any.
    met: str | None
    #: When the worker had written the request, if it was not killed before it noted that. A worker compensates for
    #: the time until then.
    sent: float | None = None

    @property
    def on_the_way_s(self) -> float | None:
        """How long the call took from its worker to the vendor; None if the worker is unknown."""
        if self.note is None:
            return None
        return self.call.arrived_at - (self.sent or float(self.note["at"]))


class Notes:
    """What the workers noted."""

    def __init__(self, notes: Sequence[Mapping[str, Any]]) -> None:
        self._by_job: dict[str, list[Mapping[str, Any]]] = {}
        for note in sorted(notes, key=lambda note: float(note["at"])):
            if "job" in note:
                self._by_job.setdefault(str(note["job"]), []).append(note)

    def recorded_at(self, job: str) -> float | None:
        """Return the moment just after a worker recorded the job's outcome, if it lived to note that."""
        return self.recorded_between(job, float("-inf"), float("inf"))

    def recorded_between(self, job: str, since: float, until: float) -> float | None:
        """Return the first such moment between two others."""
        moments = (float(note["at"]) for note in self._by_job.get(job, ()) if note.get("recorded"))
        return next((moment for moment in moments if since < moment <= until), None)

    def called(self) -> dict[str, tuple[float, float]]:
        """Return, for each job that was called, the moments of its first and last call."""
        calls = {
            job: [float(note["at"]) for note in notes if note["what"] == "calls"] for job, notes in self._by_job.items()
        }
        return {job: (moments[0], moments[-1]) for job, moments in calls.items() if job and moments}

    def lost_answers(self, job: str) -> int:
        """Return how many calls of a job met a fault of the transport."""
        return sum("fault" in note for note in self._by_job.get(job, ()))

    def made(self, jobs: Sequence[str], calls: Sequence[Call]) -> dict[str, list[Made]]:
        """Match calls for one task and operation, in order, to the notes of their workers; return them by job.

        `jobs` is not empty. Two jobs stop a task that ran on.
        """
        notes = sorted((note for job in jobs for note in self._by_job.get(job, ())), key=lambda note: float(note["at"]))
        sent = [place for place, note in enumerate(notes) if note["what"] == "calls"]
        answered = {
            str(after["request_id"]): place
            for place in sent
            for after in _until_next(notes[place:])
            if after.get("request_id")
        }
        of_calls: list[int | None] = [answered.get(call.request_id) for call in calls]
        # A note belongs to one call at most. Two workers may write theirs before either call arrives; the request
        # ids in the answers tell them apart.
        free = [place for place in sent if place not in of_calls]
        for number, call in enumerate(calls):
            before = [place for place in free if float(notes[place]["at"]) <= call.arrived_at + _SLACK_S]
            if of_calls[number] is None and before:
                of_calls[number] = before[-1]
                free.remove(before[-1])
        found: dict[str, list[Made]] = {}
        for call, of_call in zip(calls, of_calls, strict=True):
            if of_call is None:
                found.setdefault(jobs[0], []).append(Made(call, None, None))
                continue
            note = notes[of_call]
            after: Mapping[str, Any] = next(
                (one for one in _until_next(notes[of_call:]) if one["what"] == "called"), {}
            )
            found.setdefault(str(note["job"]), []).append(Made(call, note, after.get("fault"), after.get("sent")))
        return found


def _until_next(notes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the notes of the first note's process about the same job, until it made the next call."""
    first, *rest = notes
    for note in rest:
        if (note["process"], note["job"]) == (first["process"], first["job"]):
            if note["what"] == "calls":
                return
            yield note


class Causes:
    """Explains calls by the faults of a run."""

    def __init__(self, faults: Sequence[Happened]) -> None:
        self._faults = faults

    def lost_with_redis(self, written: float, until: float | None = None, before: float = float("inf")) -> bool:
        """Return whether a kill of Redis may have lost what was written at `written` and was still there at `until`.

        Only kills before `before` count.
        """
        known = written if until is None else until
        return any(
            fault.kind is Kind.REDIS and known - 0.5 <= fault.began <= before and fault.began - written < UNWRITTEN_S
            for fault in self._faults
        )

    def lost_leases(self, since: float, until: float) -> int:
        """Return how many faults between the two moments can each have ended a job's lease."""
        kinds = _KILLS | _OF_REDIS | {Kind.STOP, Kind.CLOCK}
        return sum(fault.kind in kinds and fault.began <= until and fault.ended >= since for fault in self._faults)

    def jumped_s(self, kinds: set[Kind], since: float, until: float) -> float:
        """Return by how much the clock jumped between the two moments."""
        jumps = (fault for fault in self._faults if fault.kind in kinds and since <= fault.began <= until + _SLACK_S)
        return sum(jump.fault.amount for jump in jumps)

    def of_next(self, first: Made, then: Made) -> str | None:
        """Return why a job was called again after `first`, or None if nothing explains it.

        A fault counts if it overlaps the time from the take before the first call, which began its lease, to the second
        call.
        """
        if first.call.fault is not None or first.call.over_limit or not first.call.authenticated:
            return f"answered {first.call.answer}"
        if first.note is None:
            return None
        begun, sent, again = float(first.note["begun"]), float(first.note["at"]), then.call.arrived_at
        process = str(first.note["process"])
        if then.note is not None and float(then.note["begun"]) < sent:
            return self._of_two_takes(first.note, then.note, again)
        if self._killed_between(process, sent, again):
            return "its worker was killed"
        if first.met is not None:
            return f"the answer was lost: {first.met}"
        return self.of_overlap(begun, again, process)

    def _of_two_takes(self, first: Mapping[str, Any], then: Mapping[str, Any], again: float) -> str | None:
        """Return why a job was taken twice before either take's call was sent: a lease ended in between."""
        if float(first["begun"]) <= float(then["begun"]):
            return self.of_overlap(float(first["begun"]), float(then.get("taken", again)), str(first["process"]))
        overtaken = self.of_overlap(float(then["begun"]), again, str(then["process"]))
        return overtaken and f"begun first and sent last: {overtaken}"

    def of_overlap(self, begun: float, again: float, process: str) -> str | None:
        """Return why two workers held one job between `begun` and `again`: the lease of one had run out."""
        if self._any({Kind.STOP}, begun, again, process):
            return "its worker stood still"
        if self._any({Kind.CLOCK}, begun, again):  # a jump back ends no lease
            return "the clock jumped"
        if self._any({Kind.REDIS}, begun, again):
            return "Redis was away"
        if self._any(_OF_REDIS, begun, again, process):
            return "its worker was cut off from Redis"
        return None

    def of_over_limit(self, call: Call, on_the_way: Sequence[float]) -> str | None:
        """Return why a call arrived in one second with more calls than its lane has slots.

        `on_the_way` holds the seconds that the lane's calls of the preceding second took from worker to vendor.
        """
        at = call.arrived_at
        if any(fault.kind is Kind.STOP and abs(at - fault.ended) < 2.0 for fault in self._faults):
            return "sent by a worker that had stood still"
        if any(fault.kind in _JUMPS and fault.near(at, 1.0, 3.0) for fault in self._faults):
            return "the clock jumped"
        if any(fault.kind is Kind.REDIS and fault.near(at, 1.0, 3.0) for fault in self._faults):
            return "Redis was killed"
        if on_the_way and max(on_the_way) - min(on_the_way) > UNEVEN_S:
            return "this machine delayed calls on their way unevenly"
        return None

    def pauses_over(self, call: Call) -> list[Happened]:
        """Return the pauses of the call's scope that had held for a second when the call arrived."""
        pauses = [
            fault for fault in self._faults if fault.kind is Kind.PAUSE and fault.fault.how in {"all", call.account}
        ]
        resumed = [(one.ended, one.fault.how) for one in pauses]
        resumed += [
            (one.ended, account)
            for one in self._faults
            if one.kind is Kind.KEY
            for account, _, end in [one.fault.how.partition(" ")]
            if end == BY_RESUMING
        ]
        return [
            pause
            for pause in pauses
            if pause.began + 1.0 < call.arrived_at < pause.ended - 0.2
            # who resumes a scope ends every pause of it
            and not any(
                scope == pause.fault.how and pause.began <= moment <= call.arrived_at + 0.2
                for moment, scope in resumed
                if moment != pause.ended
            )
        ]

    def of_paused_call(self, pause: Happened, call: Call) -> str | None:
        """Return why a paused lane was called."""
        if any(
            fault.kind is Kind.REDIS and pause.began - 1.0 <= fault.ended <= call.arrived_at for fault in self._faults
        ):
            return "the pause was set just before Redis was killed, and gone with what it had not written"
        if any(fault.kind is Kind.STOP and abs(call.arrived_at - fault.ended) < 2.0 for fault in self._faults):
            return "sent by a worker that had stood still"
        return None

    def _killed_between(self, process: str, begun: float, again: float) -> bool:
        return any(
            fault.kind in _KILLS and fault.process == process and begun - _SLACK_S <= fault.began <= again
            for fault in self._faults
        )

    def _any(self, kinds: set[Kind], since: float, until: float, process: str = "") -> bool:
        return any(
            fault.kind in kinds and fault.began <= until and fault.ended >= since and fault.process in {"", process}
            for fault in self._faults
        )
