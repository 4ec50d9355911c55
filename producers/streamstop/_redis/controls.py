"""Controls: reads and writes pauses, limits and holds in Redis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.constants import CONTROLS, REFUSED
from streamstop._core.controls import (
    Controls,
    Limit,
    Pause,
    has_ended,
    hold_field,
    limit_field,
    pause_field,
    read_control,
    scope_has_account,
)
from streamstop._core.journal import EventKind
from streamstop._core.lane import Lane
from streamstop._redis.scripts import Script, load

#: Gives a client; after the block, waits until the replicas have what it wrote. It is told what was done, and what to
#: do again if they do not confirm that.
Confirmed = Callable[[str, str], AbstractContextManager[Redis]]
#: How many controls whose time is over one script removes.
_MOST_EXPIRED = 100


class ControlStore:
    """The hash of controls: see :class:`~streamstop._core.controls.ControlBackend`. Raises redis-py's errors.

    `confirmed` gives the client for a change, and waits until the replicas have it; without it, nothing is waited for.
    """

    def __init__(self, redis: Redis, confirmed: Confirmed | None = None) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._confirmed: Confirmed = confirmed or (lambda _done, _again: nullcontext(redis))

    def read(self) -> Controls:
        """Return every control, in one round trip; in two if an account is held."""
        fields, now = self._read()
        controls = Controls.parse(fields, now)
        if not controls.holds:
            return controls
        moments = self._redis.hmget(REFUSED, [f"{account}:probe" for account in controls.holds])
        probes = [
            None if moment is None else datetime.fromtimestamp(int(moment) / 1_000_000, UTC) for moment in moments
        ]
        holds = {
            account: hold.model_copy(update={"next_probe": probe})
            for (account, hold), probe in zip(controls.holds.items(), probes, strict=True)
        }
        return replace(controls, holds=holds)

    def pause(self, pause: Pause) -> None:
        """Pause a scope. A pause of the same scope is replaced."""
        text = f"{pause.scope} is paused"
        with self._confirmed(text, "pause it again") as redis:
            self._set(redis, pause, EventKind.PAUSED, text, _place(pause.scope))

    def resume(self, scope: str, by: str) -> bool:
        """End the pause of `scope`, and the hold of the account of that name; return whether there was any."""
        resumed = _ending(pause_field(scope), EventKind.RESUMED, f"{scope} is resumed", _place(scope))
        released = _ending(hold_field(scope), EventKind.RELEASED, f"the hold of {scope} is ended", _place(scope))
        with self._confirmed(f"{scope} is resumed", "resume it again") as redis:
            return any(self._clear(redis, [resumed, released], by))

    def set_limit(self, limit: Limit) -> None:
        """Override the limit of a lane. An older override is replaced."""
        text = f"the limit of {limit.lane.name} is {limit.limit:g} calls/s"
        with self._confirmed(text, "set it again") as redis:
            self._set(redis, limit, EventKind.LIMIT_SET, text, limit.lane, look=limit.lane.name)

    def clear_limit(self, lane: Lane, by: str) -> bool:
        """End the override of a lane's limit; return whether there was one."""
        text = f"the limit of {lane.name} is cleared"
        with self._confirmed(text, "clear it again") as redis:
            return any(self._clear(redis, [_limit_ending(lane, text)], by))

    def release(self, account: str, why: str) -> bool:
        """End the hold of an account; return whether there was one."""
        ending = _ending(hold_field(account), EventKind.RELEASED, why, Lane(account, ""))
        return any(self._clear(self._redis, [ending], ""))

    def probe_now(self, accounts: Iterable[str]) -> None:
        """Let those of `accounts` that are held call one job at once."""
        if fields := [f"{account}:probe" for account in accounts]:
            self._redis.hdel(REFUSED, *fields)

    def end_expired(self) -> None:
        """Remove what has ended by itself. Workers have ceased to obey it at its moment."""
        fields, now = self._read()
        endings: list[Mapping[str, str]] = []
        for field, text in fields.items():
            match read_control(field, text):
                case Pause(scope=scope) as pause if has_ended(pause, now):
                    ending = _ending(field, EventKind.RESUMED, f"the pause of {scope} is over", _place(scope))
                case Limit(lane=lane) as limit if has_ended(limit, now):
                    ending = _limit_ending(lane, f"the limit that was set for {lane.name} is over")
                case _:
                    continue
            endings.append({**ending, "value": text})
        if endings:
            self._clear(self._redis, endings[:_MOST_EXPIRED], "")

    def _read(self) -> tuple[dict[str, str], datetime]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(CONTROLS)
        (seconds, microseconds), fields = pipeline.execute()
        now = datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)
        return {field.decode(): text.decode() for field, text in fields.items()}, now

    def _set(
        self, redis: Redis, control: Pause | Limit, kind: EventKind, text: str, place: Lane, *, look: str = ""
    ) -> None:
        until = "" if control.until is None else f" until {control.until:%Y-%m-%dT%H:%M:%SZ}"
        self._scripts_on(redis)["set"](
            field=control.field,
            value=control.text,
            kind=kind,
            account=place.account,
            operation=place.operation,
            by=control.by,
            text=f"{text}{until}{control.reason and f': {control.reason}'}",
            lane=look,
        )

    def _clear(self, redis: Redis, endings: Sequence[Mapping[str, str]], by: str) -> list[int]:
        return list(self._scripts_on(redis)["clear"](by=by, endings=endings))

    def _scripts_on(self, redis: Redis) -> dict[str, Script]:
        return self._scripts if redis is self._redis else load(redis, "control")

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "control")


def _ending(field: str, kind: EventKind, text: str, place: Lane, *, look: str = "") -> dict[str, str]:
    """Return one of the endings of the script ``clear``."""
    return {
        "field": field,
        "value": "",
        "kind": kind,
        "account": place.account,
        "operation": place.operation,
        "text": text,
        "lane": look,
    }


def _limit_ending(lane: Lane, text: str) -> dict[str, str]:
    return _ending(limit_field(lane), EventKind.LIMIT_CLEARED, text, lane, look=lane.name)


def _place(scope: str) -> Lane:
    """Return the account and the operation of a scope; each may be ''."""
    return Lane.from_name(scope) if scope_has_account(scope) else Lane("", "")
