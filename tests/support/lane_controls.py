"""Pauses and limits of the lanes' state machine: what people have set, and what lanes must obey."""

from datetime import UTC, datetime, timedelta

from redis import Redis

from streamstop._core.constants import CONTROLS
from streamstop._core.controls import Limit, Pause, hold_field
from streamstop._core.lane import Lane
from streamstop._core.pace import Pace
from streamstop._redis.controls import ControlStore
from tests.support.lane_invariants import SECOND

_FOREVER = 2**53


class SetControls:
    """What people have set, by Redis' clock in µs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store = ControlStore(redis)
        self._pauses: dict[str, int] = {}
        self._limits: dict[Lane, tuple[float, int]] = {}

    def pause(self, scope: str, seconds: int | None, now_us: int) -> None:
        """Pause a scope."""
        self._store.pause(Pause(scope=scope, by="x", at=_at(now_us), until=_until(seconds, now_us)))
        self._pauses[scope] = _FOREVER if seconds is None else now_us + seconds * SECOND

    def resume(self, scope: str) -> None:
        """Resume a scope, and end the hold of an account."""
        is_held = bool(self._redis.hexists(CONTROLS, hold_field(scope)))
        assert self._store.resume(scope, "x") == (self._pauses.pop(scope, None) is not None or is_held)

    def set_limit(self, lane: Lane, limit: float, seconds: int | None, now_us: int) -> None:
        """Set the limit of a lane."""
        until = _until(seconds, now_us)
        self._store.set_limit(
            Limit(account=lane.account, operation=lane.operation, limit=limit, by="x", at=_at(now_us), until=until)
        )
        self._limits[lane] = (limit, _FOREVER if seconds is None else now_us + seconds * SECOND)

    def clear_limit(self, lane: Lane) -> None:
        """Clear the limit of a lane."""
        assert self._store.clear_limit(lane, "x") == (self._limits.pop(lane, None) is not None)

    def clear(self) -> None:
        """End everything."""
        self._redis.delete(CONTROLS)
        self._pauses.clear()
        self._limits.clear()

    def is_paused(self, lane: Lane, now_us: int) -> bool:
        """Return whether a lane must give no job."""
        scopes = ("all", "vendor:aliyun", lane.account, lane.name)
        return any(self._pauses.get(scope, 0) > now_us for scope in scopes)

    def limit_of(self, lane: Lane, now_us: int) -> tuple[float, int] | None:
        """Return the limit that is set for a lane, and its end."""
        limit, until = self._limits.get(lane, (0.0, 0))
        return (limit, until) if until > now_us else None

    def pace_of(self, lane: Lane, now_us: int) -> tuple[Pace | None, int]:
        """Return the pace that is set for a lane, and its end."""
        found = self.limit_of(lane, now_us)
        return (None, 0) if found is None else (Pace.of_limit(found[0]), found[1])


def _at(now_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)


def _until(seconds: int | None, now_us: int) -> datetime | None:
    return None if seconds is None else _at(now_us + seconds * SECOND)
