"""The steps of the lanes' state machine, each with its checks, and the state that they record."""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall, Taken
from streamstop._core.pace import Pace
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import WAITS_FOR_KEY, Book, Schedule
from streamstop._wire.reports import Ended, Released, Renewed, Report, Throttled
from tests.support.lane_controls import SetControls
from tests.support.lane_driver import LEASE, announce
from tests.support.lane_holds import HoldPromises
from tests.support.lane_invariants import (
    LaneContent,
    read_lane,
)
from tests.support.lane_strategies import (
    LANES,
    LONGEST_LEASE,
    WORKERS,
    Slots,
    us,
)
from tests.support.manual_clock import ClockedFakeRedis, ClockedRedis, ManualClock
from tests.support.pace_model import PaceModel

_T = TypeVar("_T")


class LaneSteps:
    """What producers and workers did so far, and the steps that extend it."""

    def __init__(self, redis: ClockedRedis | ClockedFakeRedis) -> None:
        super().__init__()
        self.redis = redis
        self.redis.flushall()
        self.clock = ManualClock()
        self.redis.show(self.clock)
        self.lanes, self.schedule = Lanes(redis), Schedule(redis)
        #: How often each job was sent, its message, and its lane.
        self.sent: Counter[str] = Counter()
        self.messages: dict[str, bytes] = {}
        self.home: dict[str, Lane] = {}
        self.ids: dict[bytes, str] = {}
        #: Taken jobs: those that are unreported, and the last ones that were reported.
        self.owning: list[Taken] = []
        self.through: deque[Taken] = deque(maxlen=20)
        self.ended: set[str] = set()
        self.unannounced: set[Lane] = set()
        self.garbage = 0
        self.controls = SetControls(redis)
        self.holds = HoldPromises(redis)

    def _take(self, worker: int, most: int) -> list[Taken]:
        before = {content.lane: content for content in self._everything()}
        held = [lane.account for lane in before if self.holds.is_held(lane.account)]
        take = self.schedule.take(most, lease=LEASE, book=self.books[worker])
        assert not take.broken
        assert len(take.jobs) <= most
        for job in take.jobs:
            content = before[job.lane]
            assert job.lane.account in WORKERS[worker]
            assert job.job_id not in self.ended, "a job that has ended is given"
            assert job.job_id not in content.leases, "a job in flight is given"
            assert job.slot_us >= self.clock.now_us
            assert not self.controls.is_paused(job.lane, self.clock.now_us), "a paused lane gives a job"
            self.models[job.lane].limit(*self.controls.pace_of(job.lane, self.clock.now_us))
            self.models[job.lane].give_slot(job, now_us=self.clock.now_us)
            limit, _ = self.controls.limit_of(job.lane, self.clock.now_us) or (self.limit, 0)
            if self.slots[job.lane].limit != limit:
                self.slots[job.lane] = Slots(limit)
            self.slots[job.lane].note(job)
        for lane, one in before.items():
            if lane.account in WORKERS[worker]:
                given = [job for job in take.jobs if job.lane == lane]
                assert not given or len(one.leases) + len(given) <= max(self.models[lane].window(self.clock.now_us), 1)
        for account in held:
            given = [job for job in take.jobs if job.lane.account == account]
            self.holds.check_given(account, given, self.clock.now_us)
        self._check_paces()
        self.owning += take.jobs
        return list(take.jobs)

    def _report(self, reports: Sequence[Report]) -> None:
        order = sorted(reports, key=lambda report: -report.job.slot_us)
        owned = {job_id: owner for content in self._everything() for job_id, owner in _owners(content).items()}
        held = {lane.account for lane in LANES if self.holds.is_held(lane.account)}
        expected: dict[int, timedelta | None] = {}
        owning: list[Report] = []
        for report in order:
            job = report.job
            if owned.get(job.job_id) != job.owner:
                # Redis does so for every report: this one may follow one that changed the share of the pace.
                self.models[job.lane].clamp_moments_ahead(self.clock.now_us)
                expected[id(report)] = None
                continue
            rest = self.models[job.lane].apply_report(report, now_us=self.clock.now_us)
            expected[id(report)] = us(rest)
            if isinstance(report, Renewed):
                continue
            owning.append(report)
            del owned[job.job_id]
            if isinstance(report, Ended):
                self.ended.add(job.job_id)
            if isinstance(report, Released) or (report.call is LastCall.NONE and not isinstance(report, Throttled)):
                self.slots[job.lane].given.pop(job, None)  # there was no call
        rests = dict(zip(map(id, reports), self.schedule.report(reports).rests, strict=True))
        waiting = list(self.holds.check_answers([(report, rests[id(report)]) for report in owning], held))
        self.ended -= {report.job.job_id for report in waiting}
        expected |= dict.fromkeys(map(id, waiting), WAITS_FOR_KEY)
        assert rests == expected
        for report in reports:
            if not isinstance(report, Renewed) and report.job in self.owning:
                self.owning.remove(report.job)
                self.through.append(report.job)
        self._check_paces()

    def _check_paces(self) -> None:
        """Compare each lane's pace with its model, at the moment at which Redis wrote it."""
        for content in self._everything():
            self.models[content.lane].check(content, now_us=self.clock.now_us)

    def _sweep(self) -> None:
        for _ in range(100):
            swept = self.schedule.sweep(longest_lease=LONGEST_LEASE, period=timedelta(0))
            assert swept is not None
            if not swept.again:
                break
        for content in self._everything():
            assert all(self.clock.now_us < end for end in content.leases.values()), "a lease has run out, and is there"
        self._check_paces()

    def _send(self, job_id: str, level: int) -> None:
        self.sent[job_id] += 1
        self.redis.lpush(self.home[job_id].waiting[level], self.messages[job_id])

    def _announce(self, lane: Lane, *, tells: bool) -> None:
        if tells:
            announce(self.redis, lane)
            self.unannounced.discard(lane)
        else:
            self.unannounced.add(lane)

    def _set_limit(self, limit: float) -> None:
        pace = Pace.of_limit(limit)
        self.limit = limit
        self.books = [Book(dict.fromkeys(accounts, "aliyun"), {}, pace, {}) for accounts in WORKERS]
        self.slots = {lane: Slots(limit) for lane in LANES}
        if not hasattr(self, "models"):
            self.models = {lane: PaceModel() for lane in LANES}
        for model in self.models.values():
            model.pace = pace

    def _advance(self, microseconds: int) -> None:
        self.clock.now_us += microseconds
        if microseconds < 0:
            self.holds.forget_moments()
        self.redis.show(self.clock)

    def _id_of(self, entry: bytes) -> str | None:
        return self.ids.get(entry.partition(b"\n")[2] if entry.startswith(b"\x01") else entry)

    def _everything(self) -> list[LaneContent]:
        return [read_lane(self.redis, lane) for lane in LANES]


def _owners(content: LaneContent) -> dict[str, str]:
    return {
        name.removesuffix(":owner"): owner.decode() for name, owner in content.jobs.items() if name.endswith(":owner")
    }


def pick(items: Sequence[_T], which: int) -> _T:
    return items[which % len(items)]
