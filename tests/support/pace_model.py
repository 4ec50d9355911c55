"""A model of a lane's pace in plain Python, without Redis; tests compare the scripts with it.

A lane's content needs no model: :mod:`tests.support.lane_invariants` states its invariants. Moments are in µs.
"""

from dataclasses import dataclass, field

from streamstop._core.lane_types import LastCall, Taken
from streamstop._core.pace import Pace
from streamstop._wire.reports import Ended, Released, Renewed, Report, Retried, Throttled
from tests.support.lane_invariants import SECOND, LaneContent

#: How far ahead of its slot a job is given.
HORIZON = 60_000
#: No slot is given further ahead than this.
PATIENCE = SECOND
#: How late a call may leave and be covered by the headroom.
LATE_COVERED = 10_000
FAULTS_TO_FAIL = 5
#: A lane's moments lie at most this far ahead, unless the clock was set back.
FARTHEST = 600 * SECOND
#: µs that rounding may cost.
_ROUNDING = 2


@dataclass
class PaceModel:
    """The pace of one lane."""

    pace: Pace = field(default_factory=lambda: Pace.of_limit(1))
    #: The interval that the lane stores: a new one applies from a worker's next look.
    interval: int = 0
    #: The first slot that no job has.
    free_from: float = 0
    rests_until: int = 0
    #: The length of that rest.
    span: int = 0
    share: int = 100
    faults: int = 0
    throttles: int = 0
    #: By how much late calls have shifted slots, in total.
    moved: float = 0
    #: A limit that a person has set, as the lane stores it: the interval, the window, and its end.
    own_interval: int = 0
    own_window: int = 0
    limited_until: int = 0

    def window(self, now_us: int) -> int:
        """How many jobs may be in flight."""
        if self.faults >= FAULTS_TO_FAIL:
            return 1
        return self.own_window if self.limited_until > now_us else self.pace.window

    def spacing(self, now_us: int) -> float:
        """Between two calls, at the present share of the pace."""
        return (self.own_interval if self.limited_until > now_us else self.interval) * 100 / self.share

    def limit(self, own: Pace | None, until: int) -> None:
        """Set the limit of the lane that a worker finds at its next look; None: the worker's own."""
        if own is not None:
            self.own_interval, self.own_window = own.interval_us, own.window
        self.limited_until = until if own is not None else 0

    def forget(self) -> None:
        """Expire the lane's pace."""
        self.__init__(pace=self.pace)  # type: ignore[misc]  # all other fields take their defaults

    def give_slot(self, job: Taken, *, now_us: int) -> None:
        """Check that a job got the next slot, and take that slot."""
        self.interval = self.pace.interval_us
        self.clamp_moments_ahead(now_us)
        slot = max(now_us, self.free_from, self.rests_until)
        assert abs(job.slot_us - slot) <= _ROUNDING, f"the slot is {job.slot_us - slot} µs off"
        assert slot <= now_us + HORIZON + _ROUNDING
        assert job.slots_shifted_us == round(self.moved)
        self.free_from = job.slot_us + self.spacing(now_us)

    def apply_report(self, report: Report, *, now_us: int) -> int:
        """Apply an owner's report; return how long the lane rests because of it."""
        self.clamp_moments_ahead(now_us)
        rest = 0
        match report:
            case Renewed():
                return 0
            case Released():
                self._take_slot_back(report.job, now_us)
                return 0
            case Throttled():
                rest = self._throttle(0 if report.hint is None else round(report.hint.total_seconds() * SECOND), now_us)
            case Ended() | Retried():
                rest = self._judge(report, now_us)
        self._make_up(report, now_us)
        return rest

    def check(self, content: LaneContent, *, now_us: int) -> None:
        """Compare the pace in Redis with the model, then continue from Redis' values."""
        found = PaceModel(
            pace=self.pace,
            interval=content.number("interval"),
            free_from=content.number("tat"),
            rests_until=content.number("rest"),
            span=content.number("span"),
            share=content.number("share", 100),
            faults=content.number("failed"),
            throttles=content.number("throttles"),
            moved=content.number("moved"),
            own_interval=content.number("own_interval"),
            own_window=content.number("own_places"),
            limited_until=content.number("limited"),
        )
        for name in ("span", "share", "faults", "throttles"):
            assert getattr(found, name) == getattr(self, name), f"{name} of {content.lane.name}"
        assert abs(found.moved - self.moved) <= _ROUNDING
        assert found.interval in {0, self.interval, self.pace.interval_us, SECOND}
        before = self.free_from, self.rests_until
        self.interval = found.interval
        self.own_interval, self.own_window = found.own_interval, found.own_window
        self.limited_until = found.limited_until
        self.clamp_moments_ahead(now_us)
        if found.rests_until != before[1]:
            assert found.rests_until == self.rests_until, f"the rest of {content.lane.name}"
        if abs(found.free_from - before[0]) > _ROUNDING:
            assert abs(found.free_from - self.free_from) <= _ROUNDING, f"the next slot of {content.lane.name}"
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
                self._take_slot_back(report.job, now_us)
        return 0

    def _meet_a_fault(self, now_us: int) -> int:
        """Count a transient fault, unless its call began before the rest; return how long the lane rests."""
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

    def _take_slot_back(self, job: Taken, now_us: int) -> None:
        """Return the slot of a job that made no call, unless a later slot was given."""
        if job.slot_us and abs(self.free_from - job.slot_us - self.spacing(now_us)) < _ROUNDING:
            self.free_from = job.slot_us

    def _make_up(self, report: Report, now_us: int) -> None:
        """Shift later slots behind a late call, less what they have shifted since its slot was given."""
        late_us = round(report.send_delay.late.total_seconds() * SECOND)
        if late_us <= LATE_COVERED:
            return
        missing = late_us - LATE_COVERED - max(0, self.moved - report.send_delay.slots_shifted_us)
        free_from = max(self.free_from, now_us)
        # A shift to one second ahead suffices: it is a second after any call that was sent.
        move = min(missing, now_us + SECOND - free_from)
        if move > 0:
            self.free_from = free_from + move
            self.moved += move

    def clamp_moments_ahead(self, now_us: int) -> None:
        """Clamp moments that lie too far ahead: the clock was set back. The share of the pace at that time counts."""
        self.free_from = min(self.free_from, now_us + PATIENCE + self.spacing(now_us))
        self.rests_until = min(self.rests_until, now_us + self.span) if self.rests_until > now_us else 0
