"""Journal: the events and the counts of vendors' errors in Redis. No other module reads or writes them.

Workers count errors and add the events of lanes in the script ``report``; see ``_redis/lua/lib/errors.lua``.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.constants import ERROR_COUNTS, EVENTS
from streamstop._core.journal import ErrorCount, Event, EventKind, sorted_counts
from streamstop._core.lane import Lane
from streamstop._redis.scripts import Script, load

#: How much of an event's text is kept.
_LONGEST_TEXT = 500
#: How many events one command reads.
_PAGE = 1000
#: What one hash of error counts spans, as the scripts have it, in s; and how many hashes one round trip reads.
_SPAN_S = 300
_HASHES = 20
_LAST = b"\tlast"


class Journal:
    """The journal of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def add(
        self,
        kind: EventKind,
        text: str,
        *,
        account: str | None = None,
        operation: str | None = None,
        by: str | None = None,
    ) -> None:
        """Add an event. Redis keeps the latest 10,000."""
        self._scripts["add"](
            kind=kind.value, account=account or "", operation=operation or "", by=by or "", text=text[:_LONGEST_TEXT]
        )

    def events(self, *, since: timedelta | None = None, after: str | None = None) -> Iterator[Event]:
        """Yield the events that are younger than `since` and later than the event `after`, oldest first."""
        first = "-" if after is None else f"({after}"
        if since is not None:
            seconds, microseconds = self._redis.time()
            moment = seconds * 1000 + microseconds // 1000 - since // timedelta(milliseconds=1)
            if after is None or int(after.partition("-")[0]) < moment:
                first = str(max(0, moment))
        while page := self._redis.xrange(EVENTS, first, "+", count=_PAGE):
            for event_id, fields in page:
                yield _event(event_id, fields)
            if len(page) < _PAGE:
                return
            first = f"({page[-1][0].decode()}"

    def newest(self) -> str:
        """Return the id of the newest event; before the first, an id that is older than any."""
        newest = self._redis.xrevrange(EVENTS, count=1)
        return newest[0][0].decode() if newest else "0-0"

    def errors(self, *, since: timedelta) -> list[ErrorCount]:
        """Return the error counts of the five minutes in which `since` began, and of all later ones."""
        now_s = self._redis.time()[0]
        hashes = range(int(now_s - since.total_seconds()) // _SPAN_S, now_s // _SPAN_S + 1)
        counts = Counter[bytes]()
        newest: dict[bytes, tuple[int, dict[str, Any]]] = defaultdict(lambda: (0, {}))
        for start in range(0, len(hashes), _HASHES):
            pipeline = self._redis.pipeline(transaction=False)
            for number in hashes[start : start + _HASHES]:
                pipeline.hgetall(f"{ERROR_COUNTS}{number}")
            for number, fields in zip(hashes[start : start + _HASHES], pipeline.execute(), strict=True):
                for field, value in fields.items():
                    counted, at_us, last = field, number * _SPAN_S * 1_000_000, {}
                    if field.endswith(_LAST):
                        counted, last = field.removesuffix(_LAST), json.loads(value)
                        at_us = int(last["at"])
                    else:
                        counts[field] += int(value)
                    newest[counted] = max(newest[counted], (at_us, last), key=_order)
        return sorted_counts(_count(field, count, *newest[field]) for field, count in counts.items())

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "journal")


def _event(event_id: bytes, fields: dict[bytes, bytes]) -> Event:
    texts = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    return Event(
        id=event_id.decode(),
        at=_moment(int(event_id.partition(b"-")[0]) * 1000),
        kind=texts.get("kind", ""),
        account=texts.get("account") or None,
        operation=texts.get("operation") or None,
        by=texts.get("by") or None,
        text=texts.get("text", ""),
    )


def _count(field: bytes, count: int, at_us: int, last: dict[str, Any]) -> ErrorCount:
    lane, _, code = field.decode(errors="replace").rpartition("\t")
    found = Lane.from_name(lane)
    return ErrorCount(
        account=found.account,
        operation=found.operation,
        code=code,
        count=count,
        at=_moment(at_us),
        message=last.get("message"),
        request_id=last.get("request_id"),
    )


def _order(newest: tuple[int, dict[str, Any]]) -> tuple[int, bool]:
    at_us, last = newest
    return at_us, bool(last)


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)
