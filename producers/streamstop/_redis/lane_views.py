"""Lane views: reads the contents and the state of lanes.

The cost is a fixed number of commands for each lane that is read, whatever the lane holds.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from redis import Redis

from streamstop._core.constants import ACCOUNTS
from streamstop._core.controls import Controls
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneError, LaneView
from streamstop._core.pace import Pace
from streamstop._redis.accounts import PUBLISHED_FOR
from streamstop._redis.controls import ControlStore
from streamstop._redis.errors import ERRORS, is_forbidden
from streamstop._wire.messages import read_waiting
from streamstop.operations import OPERATIONS

_MICROSECOND = timedelta(microseconds=1)
_NO_CONTROLS = Controls({}, {}, {})
#: The fields of a lane's pace that are read, see lib/lane.
_FIELDS = ("interval", "share", "rest", "failed", "due", "tat", "own_interval", "limited", "calls", "throttled")
_ERROR_FIELDS = ("error_code", "error_at")


class Detail(IntEnum):
    """How much is read of a lane. Each adds to the one before. A Redis user may be forbidden to read the later ones."""

    WAITING = 0
    PACE = 1
    STATE = 2
    """What holds the lane back, and whether a worker serves it, too."""
    ALL = 3
    """The oldest waiting job too."""


class LaneViews:
    """The views of the lanes of one Redis. What the Redis user may not read is left out, and not asked for again."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._controls = ControlStore(redis)
        self._most = Detail.ALL

    def read(self, lanes: Sequence[Lane], detail: Detail = Detail.ALL) -> list[LaneView]:
        """Return the views of `lanes`, in two round trips."""
        while lanes:
            asked = min(detail, self._most)
            try:
                return self._read(lanes, asked)
            except ERRORS as error:
                if not is_forbidden(error) or asked is Detail.WAITING:
                    raise
                self._most = Detail(asked - 1)
        return []

    def _read(self, lanes: Sequence[Lane], detail: Detail) -> list[LaneView]:
        controls = self._controls.read() if detail >= Detail.STATE else _NO_CONTROLS
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        for lane in lanes:
            _ask(pipeline, lane, detail)
        (seconds, microseconds), *replies = map(_absent_if_of_another_type, pipeline.execute(raise_on_error=False))
        now = datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)
        answers = iter(replies)
        return [_view(lane, answers, now, controls, detail) for lane in lanes]


def _ask(pipeline: Any, lane: Lane, detail: Detail) -> None:
    """Add the commands that read `lane`. :func:`_view` reads their replies in the same order."""
    for waiting in lane.waiting:
        pipeline.llen(waiting)
    if detail >= Detail.PACE:
        pipeline.zcard(lane.leases)
        pipeline.zcard(lane.due)
        pipeline.hmget(lane.pace, *_FIELDS, *_ERROR_FIELDS)
    if detail >= Detail.STATE:
        pipeline.zscore(ACCOUNTS, f"{lane.account} {_vendor_of(lane)}")
    if detail >= Detail.ALL:
        for waiting in lane.waiting:
            pipeline.lindex(waiting, -1)


def _view(lane: Lane, answers: Iterator[Any], now: datetime, controls: Controls, detail: Detail) -> LaneView:
    found: dict[str, Any] = {"waiting": sum(next(answers) or 0 for _ in lane.waiting)}
    if detail >= Detail.PACE:
        found |= {"in_flight": next(answers) or 0, "deferred": next(answers) or 0}
        found |= _pace_fields(next(answers) or (), now, deferred=found["deferred"])
    if detail >= Detail.STATE:
        found |= {
            "paused": controls.pause_of(lane),
            "limit_override": controls.limit_of(lane),
            "held": controls.hold_of(lane),
        }
        published = next(answers)
        if _vendor_of(lane) is not None:
            found["served"] = published is not None and published >= now.timestamp() - PUBLISHED_FOR.total_seconds()
    if detail >= Detail.ALL:
        jobs = [read_waiting(entry) for entry in (next(answers) for _ in lane.waiting) if entry is not None]
        moments = [job.enqueued_at for job in jobs if job is not None and job.enqueued_at is not None]
        found["oldest_waiting_at"] = min(moments, default=None)
    return LaneView(account=lane.account, operation=lane.operation, at=now, **found)


def _pace_fields(values: Sequence[bytes | None], now: datetime, *, deferred: int) -> dict[str, Any]:
    """Return what a lane's pace hash tells. Without the hash, the lane has not run within a day."""
    fields = dict(zip((*_FIELDS, *_ERROR_FIELDS), values, strict=False))
    numbers = {name: float(fields.get(name) or 0) for name in _FIELDS}
    code, error_at = (fields.get(name) for name in _ERROR_FIELDS)
    now_us = now.timestamp() * 1_000_000
    interval = numbers["own_interval"] if numbers["limited"] > now_us else numbers["interval"]
    found: dict[str, Any] = {
        "rest": max(0.0, numbers["rest"] - now_us) * _MICROSECOND,
        "faults": int(numbers["failed"]),
        "calls": int(numbers["calls"]),
        "throttled": int(numbers["throttled"]),
    }
    if interval:
        found["pace"] = 10_000 * (numbers["share"] or 100) / interval
        found["limit"] = Pace.limit_of(int(interval))
    if deferred and numbers["due"]:
        found["next_deferred"] = max(0.0, numbers["due"] - now_us) * _MICROSECOND
    if numbers["tat"]:
        found["last_call_at"] = _moment(min(numbers["tat"] - interval, now_us)).replace(microsecond=0)
    if code is not None and error_at is not None:
        found["last_error"] = LaneError(code=_text(code), at=_moment(float(error_at)))
    return found


def _absent_if_of_another_type(reply: Any) -> Any:
    """Return `reply`; None for a key of another type, which another program wrote. Raise any other error."""
    if isinstance(reply, Exception):
        if not str(reply).startswith("WRONGTYPE"):
            raise reply
        return None
    return reply


def _vendor_of(lane: Lane) -> str | None:
    """Return the vendor of a lane's operation; None where it is not known: of a newer version, or a control lane."""
    declared = OPERATIONS.get(lane.operation)
    return None if declared is None else declared.spec.product.vendor.name


def _moment(microseconds: float) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
