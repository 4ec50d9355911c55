"""Waiting: for outcomes, and for changes of a shutdown.

Waits yield a :class:`~streamstop._core.backend.WaitInterval` while there is nothing, so that the same code serves a
thread that waits and an event loop. All waits of a client share one subscribed connection.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from math import inf
from typing import Any

from redis import Redis

from streamstop._core.backend import WaitInterval
from streamstop._core.lane import result_key
from streamstop._redis.news import News
from streamstop._wire.results import read_record
from streamstop.outcomes import Outcome

#: How often a wait looks itself, in case the news of an outcome was lost with a connection, in s.
LOOK_AGAIN_S = 5.0
#: Changes within this time are one, in s.
_GATHER_S = 0.1
_BATCH = 1000


def wait(
    redis: Redis, news: News, job_ids: Iterable[str], timeout: timedelta | None
) -> Iterator[Outcome | WaitInterval]:
    """Yield the outcomes of `job_ids` as they are recorded, until all are there or `timeout` is over.

    Raises redis-py's errors where Redis does not answer.
    """
    deadline = _deadline(timeout)
    open_keys = {result_key(job_id) for job_id in job_ids}
    yield from _ended(open_keys, _look(redis, open_keys))
    if not open_keys or time.monotonic() >= deadline:
        return
    with news.listening(open_keys) as mailbox:
        look_at, is_confirmed = time.monotonic() + LOOK_AGAIN_S, False
        while open_keys:
            yield mailbox.pause(min(look_at, deadline) - time.monotonic())
            must_look, messages = mailbox.take()
            is_confirmed |= must_look
            is_over = time.monotonic() >= deadline
            yield from _ended(open_keys, filter(_is_outcome, map(read_record, messages)))
            if must_look or time.monotonic() >= look_at or (is_over and not is_confirmed):
                look_at = time.monotonic() + LOOK_AGAIN_S
                yield from _ended(open_keys, _look(redis, open_keys))
            if is_over:
                return


def changes(news: News, channel: str, timeout: timedelta | None) -> Iterator[WaitInterval | None]:
    """Yield None once subscribed, and then whenever something was told on `channel`, at most ten times a second.

    It does so after :data:`LOOK_AGAIN_S` without news too, in case some were lost, and when `timeout` is over.
    """
    deadline = _deadline(timeout)
    with news.listening({channel}) as mailbox:
        while True:
            yield mailbox.pause(min(LOOK_AGAIN_S, deadline - time.monotonic()))
            mailbox.take()
            yield None
            if time.monotonic() >= deadline:
                return
            yield WaitInterval(Future(), _GATHER_S)  # what is told meanwhile is one change


def _deadline(timeout: timedelta | None) -> float:
    return inf if timeout is None else time.monotonic() + timeout.total_seconds()


def _is_outcome(record: object) -> bool:
    return isinstance(record, Outcome)


def _ended(open_keys: set[str], records: Iterable[Any]) -> Iterator[Outcome]:
    """Yield the outcomes of the open jobs among `records`, each once."""
    for outcome in records:
        key = result_key(outcome.job_id)
        if key in open_keys:
            open_keys.discard(key)
            yield outcome


def _look(redis: Redis, keys: Collection[str]) -> Iterator[Outcome]:
    ordered = sorted(keys)
    for start in range(0, len(ordered), _BATCH):
        records: Any = redis.mget(ordered[start : start + _BATCH])
        for record in records:
            if record is not None and isinstance(outcome := read_record(record), Outcome):
                yield outcome
