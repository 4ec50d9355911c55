"""Waiting for outcomes: one subscribed connection a wait, however many jobs it is for."""

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from redis import Redis

from streamstop._core.lane import result_key
from streamstop._wire.results import read_record
from streamstop.outcomes import Outcome

if TYPE_CHECKING:
    from redis.client import PubSub

#: How often a wait looks itself, in case the news of an outcome was lost with a connection.
LOOK_AGAIN = timedelta(seconds=5)
_BATCH = 1000


def wait(redis: Redis, job_ids: Iterable[str], timeout: timedelta | None) -> Iterator[Outcome]:
    """Yield the outcomes of `job_ids` as they are recorded, until all are there or `timeout` is over.

    Raises redis-py's errors where Redis does not answer.
    """
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    open_keys = {result_key(job_id) for job_id in job_ids}
    for outcome in _look(redis, open_keys):
        open_keys.discard(result_key(outcome.job_id))
        yield outcome
    if not open_keys or (deadline is not None and time.monotonic() >= deadline):
        return
    with _news(redis) as news:
        _subscribe(news, open_keys)
        look_at = time.monotonic()
        while open_keys:
            now = time.monotonic()
            if now >= look_at:
                look_at = now + LOOK_AGAIN.total_seconds()
                ended = list(_look(redis, open_keys))
            else:
                until = look_at if deadline is None else min(look_at, deadline)
                ended = _read(news.get_message(timeout=max(0.0, until - now)))
            for outcome in ended:
                key = result_key(outcome.job_id)
                if key in open_keys:
                    open_keys.discard(key)
                    yield outcome
            if deadline is not None and time.monotonic() >= deadline:
                return


def news(redis: Redis, channel: str, timeout: timedelta | None) -> Iterator[None]:
    """Yield at once, and then whenever something was told on `channel`, at most ten times a second, until `timeout`.

    Raises redis-py's errors where Redis does not answer.
    """
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    with _news(redis) as subscribed:
        _subscribe(subscribed, {channel})
        while True:
            yield
            if deadline is not None and time.monotonic() >= deadline:
                return
            rest = LOOK_AGAIN.total_seconds()
            until = rest if deadline is None else min(rest, deadline - time.monotonic())
            if subscribed.get_message(timeout=max(0.0, until)) is not None:
                _let_gather(subscribed)


def _let_gather(subscribed: "PubSub") -> None:
    """Take what is told within the next tenth of a second, so that a burst of news is one."""
    until = time.monotonic() + 0.1
    while (left := until - time.monotonic()) > 0:
        subscribed.get_message(timeout=left)


def _news(redis: Redis) -> "PubSub":
    news: PubSub = redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py gives it no types
    return news


def _subscribe(news: "PubSub", keys: set[str]) -> None:
    """Subscribe, and return when Redis has confirmed: what is recorded from then on is told."""
    for batch in _batches(keys):
        news.subscribe(*batch)
    confirmed = 0
    while confirmed < len(keys):
        message = news.get_message(timeout=LOOK_AGAIN.total_seconds())
        if message is None:
            raise TimeoutError("Redis did not confirm a subscription")
        confirmed += message["type"] == "subscribe"


def _look(redis: Redis, keys: set[str]) -> Iterator[Outcome]:
    for batch in _batches(keys):
        records: Any = redis.mget(batch)
        for record in records:
            if record is not None and isinstance(outcome := read_record(record), Outcome):
                yield outcome


def _read(message: dict[str, Any] | None) -> list[Outcome]:
    if message is None or message["type"] != "message":
        return []
    outcome = read_record(message["data"])
    return [outcome] if isinstance(outcome, Outcome) else []


def _batches(keys: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(keys)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
