"""Invariants of the lanes in a Redis, which hold after any sequence of scripts."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from streamstop._core.constants import ARRIVALS, LEASED, SCHEDULE, WAKE
from streamstop._core.lane import Lane

SECOND = 1_000_000
#: The first bytes of keys that expire.
_EXPIRING = (b"celery-task-meta-", b"streamstop.work.book.", b"streamstop.work.answers.")


@dataclass(frozen=True)
class LaneContent:
    """The content of one lane. Moments are in µs."""

    lane: Lane
    #: The entries of each priority level, first to last.
    waiting: tuple[tuple[bytes, ...], ...]
    leases: Mapping[str, int]
    due: Mapping[str, int]
    jobs: Mapping[str, bytes]
    pace: Mapping[str, str]
    #: Its entries in the schedule and in the index of leases, None without one.
    scheduled: int | None
    leased: int | None
    arrived: bool

    @property
    def holds_waiting(self) -> bool:
        return any(self.waiting)

    def number(self, field: str, default: int = 0) -> int:
        """Return a number of its pace."""
        return int(self.pace.get(field, default))

    @property
    def window(self) -> int:
        """How many jobs may be in flight: the least, if a person has set a limit that may have ended."""
        if self.number("failed") >= 5:
            return 1
        places = self.number("places")
        return max(1, min(places, self.number("own_places")) if self.number("limited") else places)


def read_lane(redis: Redis, lane: Lane) -> LaneContent:
    """Return the content of `lane` in `redis`."""
    pipeline = redis.pipeline(transaction=False)
    for key in lane.waiting:
        pipeline.lrange(key, 0, -1)
    pipeline.zrange(lane.leases, 0, -1, withscores=True)
    pipeline.zrange(lane.due, 0, -1, withscores=True)
    pipeline.hgetall(lane.jobs)
    pipeline.hgetall(lane.pace)
    pipeline.zscore(SCHEDULE, lane.name)
    pipeline.zscore(LEASED, lane.name)
    pipeline.sismember(ARRIVALS, lane.name)
    *waiting, leases, due, jobs, pace, scheduled, leased, arrived = pipeline.execute()
    return LaneContent(
        lane=lane,
        waiting=tuple(tuple(reversed(level)) for level in waiting),
        leases={job_id.decode(): _whole(moment) for job_id, moment in leases},
        due={job_id.decode(): _whole(moment) for job_id, moment in due},
        jobs={name.decode(): value for name, value in jobs.items()},
        pace={name.decode(): value.decode() for name, value in pace.items()},
        scheduled=None if scheduled is None else _whole(scheduled),
        leased=None if leased is None else _whole(leased),
        arrived=bool(arrived),
    )


def check_lane_is_scheduled(content: LaneContent, now_us: int, *, unannounced: Collection[Lane] = ()) -> None:
    """Check that a lane with jobs is scheduled, announced, or full."""
    at, noted = content.scheduled, content.arrived or content.scheduled is not None
    is_full = len(content.leases) >= content.window
    if content.holds_waiting and content.lane not in unannounced:
        assert noted or is_full, f"{content.lane.name} holds waiting jobs, and nobody looks at it again"
        latest = max(content.number("tat"), content.number("rest"), now_us) + SECOND
        assert content.arrived or at is None or at <= latest, f"{content.lane.name} is looked at too late"
    if content.leases:
        assert content.leased is not None, f"no sweep finds the leases of {content.lane.name}"
        assert content.leased <= min(content.leases.values()), (
            f"the sweep comes late to the leases of {content.lane.name}"
        )
    if content.due and not content.holds_waiting:
        assert noted, f"{content.lane.name} has jobs that are due later, and nobody looks at it again"
        # The sweep ignores a clock that was set back by a second at most.
        latest = max(min(content.due.values()), content.number("rest"), now_us) + SECOND
        assert content.arrived or (at is not None and at <= latest), f"{content.lane.name} is looked at too late"


def check_no_orphaned_fields(content: LaneContent) -> None:
    """Check that a lane keeps messages, owners and histories only of the jobs that it holds."""
    messages = {name for name in content.jobs if not name.endswith((":owner", ":tries"))}
    assert messages == content.leases.keys() | content.due.keys(), "a job in flight or due later has its message there"
    assert not content.leases.keys() & content.due.keys(), "no job is in two places"
    assert {name.removesuffix(":owner") for name in content.jobs if name.endswith(":owner")} == content.leases.keys()
    assert {name.removesuffix(":tries") for name in content.jobs if name.endswith(":tries")} <= messages


def check_jobs_are_conserved(
    lanes: Collection[LaneContent], sent: Counter[str], ended: Collection[str], ids: Any
) -> None:
    """Check that each job has a copy until it has ended, and no more copies than it was sent.

    `ids` returns the id of the job in a list's entry, None for garbage.
    """
    copies = Counter(ids(entry) for lane in lanes for level in lane.waiting for entry in level)
    for lane in lanes:
        copies.update([*lane.leases, *lane.due])
    for job_id, times in sent.items():
        least = 0 if job_id in ended else 1
        assert least <= copies[job_id] <= times, f"{job_id} is in {copies[job_id]} places, and was sent {times} times"


def check_other_keys_are_bounded(redis: Redis) -> None:
    """Check that records, answers and paces expire, and that wake tokens do not accumulate."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.llen(WAKE)
    keys: Any = redis.keys("*")
    for key in keys:
        if key.startswith(_EXPIRING) or key.endswith(b":pace"):
            pipeline.pttl(key)
    tokens, *ttls = pipeline.execute()
    assert tokens <= 1
    assert all(ttl > 0 for ttl in ttls)


def _whole(moment: float) -> int:
    assert moment == int(moment), "a moment lost its whole microseconds"
    return int(moment)
