"""A lane's pace as plain Python: its rules told once more, without Redis, for the scripts to be held against.

What a lane holds needs no model: :mod:`tests.support.lane_invariants` tells what must hold of it. Moments are in µs.
"""

from dataclasses import dataclass, field

from streamstop._core.lane_types import LastCall, Taken
from streamstop._core.pace import Pace
from streamstop._wire.reports import Ended, Released, Renewed, Report, Retried, Throttled
from tests.support.lane_invariants import SECOND, LaneHolds

#: How far ahead of its slot a job is given.
HORIZON = 60_000
#: No slot is given farther ahead.
PATIENCE = SECOND
#: How late a call may leave and be covered by the headroom.
LATE_COVERED = 10_000
FAULTS_TO_FAIL = 5
#: No moment of a lane is farther off, unless the clock was set back.
FARTHEST = 600 * SECOND
#: µs that rounding may cost.
_ROUNDING = 2


@dataclass
class PaceModel:
    """How one lane runs."""

    pace: Pace = field(default_factory=lambda: Pace.of_limit(1))
    #: As the lane has it: a new one counts from the next look of a worker.
    interval: int = 0
    #: The first slot that no job has.
    free_from: float = 0
    rests_until: int = 0
    #: How long that rest takes, from its beginning.
    span: int = 0
    share: int = 100
    faults: int = 0
    throttles: int = 0
    #: By how much slots have moved on behind late calls, in all.
    moved: float = 0

    @property
    def window(self) -> int:
        """How many jobs may be in flight."""
        return 1 if self.faults >= FAULTS_TO_FAIL else self.pace.window

    @property
    def spacing(self) -> float:
        """Between two calls, at the present share of the pace."""
        return self.interval * 100 / self.share

    def forget(self) -> None:
        """The lane's pace has expired."""
        self.__init__(pace=self.pace)  # type: ignore[misc]  # all else is as of a new lane

    def gives(self, job: Taken, *, now_us: int) -> None:
        """Give a job the next slot."""
        self.interval = self.pace.interval_us
        self._forget_what_a_later_clock_told(now_us)
        slot = max(now_us, self.free_from, self.rests_until)
        assert abs(job.slot_us - slot) <= _ROUNDING, f"the slot is {job.slot_us - slot} µs off"
        assert slot <= now_us + HORIZON + _ROUNDING
        assert job.slots_shifted_us == round(self.moved)
        self.free_from = job.slot_us + self.spacing

    def takes_down(self, report: Report, *, now_us: int) -> int:
        """Take an owner's report; return how long the lane rests for its sake."""
        self._forget_what_a_later_clock_told(now_us)
        rest = 0
        match report:
            case Renewed():
                return 0
            case Released():
                self._take_slot_back(report.job)
                return 0
            case Throttled():
                rest = self._throttle(0 if report.hint is None else round(report.hint.total_seconds() * SECOND), now_us)
            case Ended() | Retried():
                rest = self._judge(report, now_us)
        self._make_up(report, now_us)
        return rest

    def check(self, held: LaneHolds, *, now_us: int) -> None:
        """Check what Redis holds of the pace, and go on from that: a look forgets what a later clock told."""
        found = PaceModel(
            pace=self.pace,
            interval=held.number("interval"),
            free_from=held.number("tat"),
            rests_until=held.number("rest"),
            span=held.number("span"),
            share=held.number("share", 100),
            faults=held.number("failed"),
            throttles=held.number("throttles"),
            moved=held.number("moved"),
        )
        for name in ("span", "share", "faults", "throttles"):
            assert getattr(found, name) == getattr(self, name), f"{name} of {held.lane.name}"
        assert abs(found.moved - self.moved) <= _ROUNDING
        assert found.interval in {0, self.interval, self.pace.interval_us, SECOND}
        before = self.free_from, self.rests_until
        self.interval = found.interval
        self._forget_what_a_later_clock_told(now_us)
        if found.rests_until != before[1]:
            assert found.rests_until == self.rests_until, f"the rest of {held.lane.name}"
        if abs(found.free_from - before[0]) > _ROUNDING:
            assert abs(found.free_from - self.free_from) <= _ROUNDING, f"the next slot of {held.lane.name}"
        self.free_from, self.rests_until, self.moved = found.free_from, found.rests_until, found.moved

    def _judge(self, report: Report, now_us: int) -> int:
        match report.call:
            case LastCall.WELL:
                self.faults = 0
                if self.rests_until <= now_us:
                    self.throttles = 0
                    self.share = min(100, self.share + 5)
            case LastCall.FAULT:
                return self._meet_a_fault(now_us)
            case LastCall.NONE:
                self._take_slot_back(report.job)
        return 0

    def _meet_a_fault(self, now_us: int) -> int:
        """Count a transient fault, unless its call is from before the rest; return how long the lane rests for it."""
        if self.rests_until > now_us:
            return 0
        self.faults += 1
        if self.faults < FAULTS_TO_FAIL:
            return 0
        seconds: int = min(60, 2 ** (self.faults - FAULTS_TO_FAIL))
        self._rest_for(seconds * SECOND, now_us)
        return seconds * SECOND

    def _throttle(self, hint: int, now_us: int) -> int:
        hint = min(hint, FARTHEST)
        if self.rests_until > now_us:
            if hint > self.rests_until - now_us:
                self._rest_for(hint, now_us)
        else:
            self.throttles += 1
            self.share = max(5, self.share // 2)
            self._rest_for(hint or min(30, 2 ** (self.throttles - 1)) * SECOND, now_us)
        return self.rests_until - now_us

    def _rest_for(self, span: int, now_us: int) -> None:
        self.rests_until, self.span = now_us + span, span

    def _take_slot_back(self, job: Taken) -> None:
        """There was no call: if no later slot is given, the next job may have this one's."""
        if job.slot_us and abs(self.free_from - job.slot_us - self.spacing) < _ROUNDING:
            self.free_from = job.slot_us

    def _make_up(self, report: Report, now_us: int) -> None:
        """Move the open slots on behind a late call, unless they have moved enough since it had its own."""
        late_us = round(report.send_delay.late.total_seconds() * SECOND)
        if late_us <= LATE_COVERED:
            return
        missing = late_us - LATE_COVERED - max(0, self.moved - report.send_delay.slots_shifted_us)
        free_from = max(self.free_from, now_us)
        # No slot need be further off than a second: that is a second behind any call that has left.
        move = min(missing, now_us + SECOND - free_from)
        if move > 0:
            self.free_from = free_from + move
            self.moved += move

    def _forget_what_a_later_clock_told(self, now_us: int) -> None:
        """Where the clock was set back, what was noted before would hold the lane up for as long."""
        self.free_from = min(self.free_from, now_us + PATIENCE + self.spacing)
        self.rests_until = min(self.rests_until, now_us + self.span) if self.rests_until > now_us else 0
