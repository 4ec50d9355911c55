"""The evidence of a run: outcomes as they were seen, calls, shutdowns, and the content of Redis."""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from streamstop import Command, Outcome
from streamstop._core.lane import result_key
from streamstop._wire.results import read_record
from streamstop_simulator import Call, SeenTask
from tests.torture.chronicle import Happened
from tests.torture.people import LimitChange
from tests.torture.producer import Accepted, LateStart, Unsure

_RECORDS = result_key("*")
_SHUTDOWN = "streamstop.shutdown."
_PAGE = 1000
#: How often a recorder reads all records, because it may miss notifications.
_LOOK_AGAIN_S = 5.0


@dataclass(frozen=True)
class Seen:
    """An outcome, and the moment at which it was seen in Redis, which may be long after it was recorded."""

    at: float
    outcome: Outcome


class Recorder:
    """Sees every outcome when it is recorded, and reads again what it missed while it was disconnected."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        #: By the job's id: each outcome that differs from the previous one.
        self.seen: dict[str, list[Seen]] = {}
        self._read: dict[bytes, object] = {}
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._over.set()
        self._thread.join()

    def look(self, redis: Redis) -> dict[str, Outcome]:
        """Read every outcome that Redis holds now; return them by the job's id."""
        recorded: dict[str, Outcome] = {}
        for keys in _pages(redis.scan_iter(_RECORDS, count=_PAGE)):
            records: Any = redis.mget(keys)
            for record in records:
                if record is not None and (outcome := self._see(record)) is not None:
                    recorded[outcome.job_id] = outcome
        return recorded

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Redis(port=self._port, socket_timeout=5) as redis:
                    self._listen(redis)
            except (RedisError, OSError):
                self._over.wait(0.1)

    def _listen(self, redis: Redis) -> None:
        news: Any = redis.pubsub()  # type: ignore[no-untyped-call]
        news.psubscribe(_RECORDS)
        news.get_message(timeout=5)
        self.look(redis)
        look_at = time.monotonic() + _LOOK_AGAIN_S
        while not self._over.is_set():
            message = news.get_message(timeout=0.5)
            if time.monotonic() > look_at:
                self.look(redis)
                look_at = time.monotonic() + _LOOK_AGAIN_S
            if message is not None and message["type"] == "pmessage":
                self._see(message["data"])

    def _see(self, record: bytes) -> Outcome | None:
        if record not in self._read:  # most records have not changed since the last look
            self._read[record] = read_record(record)
        outcome = self._read[record]
        if not isinstance(outcome, Outcome):
            return None
        with self._lock:
            seen = self.seen.setdefault(outcome.job_id, [])
            if not seen or seen[-1].outcome != outcome:
                seen.append(Seen(time.time(), outcome))
        return outcome


@dataclass(frozen=True)
class ShutdownFacts:
    """What Redis holds about one shutdown."""

    id: str
    room: str
    facts: Mapping[str, str]
    members: frozenset[str]
    outcomes: Mapping[str, Outcome]
    lanes: Mapping[str, int]
    todo: int


def shutdowns(redis: Redis) -> list[ShutdownFacts]:
    """Read every shutdown."""
    found = (_shutdown(redis, f"{_SHUTDOWN}{one}", one) for one in _shutdown_ids(redis))
    return [facts for facts in found if facts is not None]


def open_shutdowns(redis: Any) -> int:
    """Return how many shutdowns have tasks that have not ended."""
    states = (redis.hmget(f"{_SHUTDOWN}{one}", "scanned", "total", "ended") for one in _shutdown_ids(redis))
    return sum(scanned != b"1" or total != ended for scanned, total, ended in states)


def _shutdown_ids(redis: Any) -> list[str]:
    keys = (key.decode() for key in redis.scan_iter(f"{_SHUTDOWN}*", count=_PAGE))
    return sorted({key.removeprefix(_SHUTDOWN).partition(":")[0] for key in keys})


def _shutdown(redis: Any, key: str, shutdown_id: str) -> ShutdownFacts | None:
    facts = _text(redis.hgetall(key))
    if not facts:
        return None
    return ShutdownFacts(
        shutdown_id,
        facts["room"],
        facts,
        frozenset(member.decode() for member in redis.hkeys(f"{key}:tasks")),
        {
            member: Outcome.model_validate_json(outcome)
            for member, outcome in _text(redis.hgetall(f"{key}:outcomes")).items()
        },
        {name: int(count) for name, count in _text(redis.hgetall(f"{key}:lanes")).items()},
        redis.llen(f"{key}:todo"),
    )


def _text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in fields.items()}


@dataclass
class Evidence:
    """Everything by which one run is judged."""

    accepted: Mapping[str, Accepted]
    uncertain: Sequence[Unsure]
    #: By the room's name: the commands that certainly belong to one of its shutdowns.
    shut_down: Mapping[str, Sequence[Command]]
    seen: Mapping[str, Sequence[Seen]]
    #: The outcomes that Redis held at the end, by the job's id.
    held: Mapping[str, Outcome]
    shutdowns: Sequence[ShutdownFacts]
    calls: Sequence[Call]
    tasks: Sequence[SeenTask]
    #: The workers' notes, in the order of time.
    notes: Sequence[Mapping[str, Any]]
    faults: Sequence[Happened]
    #: What people changed about limits, in the order of time.
    limit_changes: Sequence[LimitChange] = ()
    #: Tasks that started late and were not stopped.
    unjoined: Sequence[LateStart] = ()
    #: The ids of the dead letters.
    letters: Sequence[str] = ()
    #: What a lane or Redis still holds and should not, and processes that do not serve.
    left: Sequence[str] = ()
    #: Where a secret was found.
    leaks: Sequence[str] = ()
    alarms: Sequence[str] = ()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes that Redis held at the end: those of jobs, and those of shutdowns' members."""
        yield from self.held.values()
        for shutdown in self.shutdowns:
            yield from shutdown.outcomes.values()


def member_of(command: Command) -> str:
    """Return the member of a shutdown that a command's task is."""
    parts = [command.account, command.operation.spec.id, dict(sorted(command.operation.params.items()))]
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)


def _pages(keys: Iterable[Any]) -> Iterable[list[Any]]:
    page: list[Any] = []
    for key in keys:
        page.append(key)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
