"""Signs of life of workers, and workers as people on call see them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from streamstop import WorkerState, WorkerView
from streamstop._core.constants import EVENTS, WORKERS
from streamstop._core.lane import Lane
from streamstop._core.pace import Pace
from streamstop._core.workers import SignOfLife
from streamstop._redis.schedule import Book, Schedule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STOP = "live.StopMPUTask"


def sign_of_life(name: str = "w1@h", **fields: Any) -> SignOfLife:
    """Return the sign of life of a worker that is well."""
    usual: dict[str, Any] = {
        "host": name.partition("@")[2],
        "pid": 7,
        "version": "1.2.3",
        "book": "00",
        "slots": 256,
        "busy": 3,
        "stopping": False,
        "up": 3600.0,
        "looked": 0.2,
        "answered": {"the event loop": 0.001},
        "clock": NOW.timestamp(),
    }
    return SignOfLife(name=name, **usual | fields)


def worker_view(name: str = "w1@h", **fields: Any) -> WorkerView:
    """Return a worker that is well."""
    usual: dict[str, Any] = {
        "host": name.partition("@")[2],
        "pid": 7,
        "version": "1.2.3",
        "state": WorkerState.RUNNING,
        "accounts": ["live-cn"],
        "slots": 256,
        "busy": 3,
        "since": NOW - timedelta(hours=1),
        "seen": NOW,
        "silent": 1.0,
    }
    return WorkerView(name=name, **usual | fields)


def silence(redis: Redis, name: str, seconds: int) -> None:
    """Make the last sign of life of a worker that is stopped `seconds` older, in place of waiting."""
    redis.ping()  # its answer comes after a sign of life that the worker sent before it was stopped
    for run, text in redis.hgetall(WORKERS).items():
        sign = json.loads(text)
        if sign["name"] == name:
            older = {**sign, "seen_us": sign["seen_us"] - seconds * 1_000_000}
            redis.hset(WORKERS, run, json.dumps(older, separators=(",", ":")))


def write_book(redis: Redis, *accounts: str, limit: float = 10, **limits: float) -> str:
    """Write the book of a worker with a limit for STOP, and others by account; return its digest."""
    own = {Lane(account.replace("_", "-"), STOP): Pace.of_limit(each) for account, each in limits.items()}
    book = Book(dict.fromkeys([*accounts, "_control"], "aliyun"), {STOP: Pace.of_limit(limit)}, Pace.of_limit(1), own)
    Schedule(redis).publish(book)
    return book.digest


def events_of_workers(redis: Redis) -> list[tuple[str, str, str]]:
    """Return the events of workers: kind, worker and text."""
    entries: Any = redis.xrange(EVENTS)
    return [tuple(fields[name].decode() for name in (b"kind", b"by", b"text")) for _, fields in entries]
