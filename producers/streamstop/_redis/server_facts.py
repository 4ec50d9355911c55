"""Server facts: what a Redis says about itself. What its user may not ask is None."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from streamstop._core.findings import ServerFacts, SlowCommand
from streamstop._redis.assembly import assemble, folders, names

_SETTINGS = ("save", "appendfsync")
#: How many entries of the slow log are read.
_SLOW_ENTRIES = 128


def read_info(redis: Redis, refused: dict[str, str]) -> Any:
    """Return what INFO says; None if Redis refuses it, which `refused` then names. Raises redis-py's other errors."""
    return _allowed("INFO", refused, redis.info)


def read_settings(redis: Redis) -> ServerFacts:
    """Return what INFO and CONFIG GET say. Raises redis-py's errors, but for a refusal."""
    source: Any = redis  # its replies are typed as awaitable or not; here they are not
    refused: dict[str, str] = {}
    info = read_info(redis, refused)
    config = _allowed("CONFIG GET", refused, lambda: {name: source.config_get(name).get(name) for name in _SETTINGS})
    return ServerFacts(info=info, config=config, refused=refused)


def read_facts(redis: Redis, *, replicas_wanted: int, clock: Callable[[], float] = time.time) -> ServerFacts:
    """Return everything that a Redis says about itself. `clock` is this machine's, in seconds since the epoch."""
    source: Any = redis
    asked_at = clock()
    seconds, microseconds = source.time()
    here = (asked_at + clock()) / 2
    settings = read_settings(redis)
    refused = dict(settings.refused)
    entries = _allowed("SLOWLOG", refused, lambda: source.slowlog_get(_SLOW_ENTRIES))
    return replace(
        settings,
        refused=refused,
        slow=None if entries is None else list(_ours(entries)),
        now=datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds),
        clock_ahead=timedelta(seconds=here - seconds - microseconds / 1_000_000),
        replicas_wanted=replicas_wanted,
    )


def _allowed(command: str, refused: dict[str, str], ask: Callable[[], Any]) -> Any:
    """Return an answer; None if Redis refuses the command, as access rules and managed services do."""
    try:
        return ask()
    except ResponseError as error:
        refused[command] = type(error).__name__
        return None


def _ours(entries: Iterable[Mapping[str, Any]]) -> Iterator[SlowCommand]:
    """Yield the entries of the slow log that are commands of streamstop."""
    for entry in entries:
        raw = entry["command"]
        command, *arguments = (raw if isinstance(raw, bytes) else str(raw).encode()).split(b" ") or [b""]
        name = command.decode(errors="replace").upper()
        if name == "EVALSHA" and arguments:
            name = _scripts().get(arguments[0].decode(errors="replace"), "")
        elif not any(argument.startswith((b"streamstop.", b"celery-task-meta-")) for argument in arguments):
            continue
        if name:
            at, duration = datetime.fromtimestamp(entry["start_time"], UTC), timedelta(microseconds=entry["duration"])
            yield SlowCommand(name, at, duration)


@cache
def _scripts() -> Mapping[str, str]:
    """Return the names of our scripts by the digest with which EVALSHA names them."""
    scripts = [assemble(name) for folder in folders() for name in names(folder)]
    return {hashlib.sha1(script.text.encode()).hexdigest(): script.name for script in scripts}  # noqa: S324
