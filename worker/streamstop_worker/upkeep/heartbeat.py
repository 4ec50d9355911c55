"""Heartbeat: every five seconds a worker writes to Redis that it lives, and which of its parts have answered.

It has a thread of its own, so the thread asks Celery's thread and the event loop to answer. A worker of which one hangs
does not look well.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from os import getpid
from uuid import uuid4

import structlog

from streamstop import __version__
from streamstop._core.journal import EventKind
from streamstop._core.workers import BEAT, SignOfLife
from streamstop._redis.deadline import deadline
from streamstop._redis.errors import ERRORS
from streamstop._redis.journal import Journal
from streamstop._redis.schedule import Book
from streamstop._redis.workers import Workers
from streamstop_worker.pipeline.bugs import log_error
from streamstop_worker.pipeline.slots import Slots

#: How long a beat waits for the answers of the worker's parts, in s.
_ANSWER_S = 0.5
#: After how many beats with unlike books a worker compares limits. A SIGHUP reaches all workers within that time.
_UNLIKE_BEATS = 3
#: How many lanes a warning names.
_MOST_NAMED = 10
_LEAVE_TIMEOUT = timedelta(seconds=5)

_log = structlog.get_logger("streamstop.heartbeat")


class Ping:
    """Measures how long ago another thread last answered."""

    def __init__(self, run_there: Callable[[Callable[[], None]], object]) -> None:
        """`run_there` runs a call in the other thread. It must not wait for the call."""
        self._run_there = run_there
        self._has_answered = threading.Event()
        self._has_answered.set()
        self._answered_at = time.monotonic()

    def ask(self) -> None:
        """Ask for an answer, unless one is outstanding."""
        if self._has_answered.is_set():
            self._has_answered.clear()
            with suppress(RuntimeError):  # the event loop is closed
                self._run_there(self._answer)

    def age_s(self, patience_s: float) -> float:
        """Return how many seconds ago the last answer came; wait up to `patience_s` for an outstanding one."""
        self._has_answered.wait(patience_s)
        return time.monotonic() - self._answered_at

    def _answer(self) -> None:
        self._answered_at = time.monotonic()
        self._has_answered.set()


@dataclass(frozen=True)
class Vitals:
    """Where a heartbeat reads what it writes."""

    slots: Slots
    #: Return the worker's book.
    book: Callable[[], Book]
    #: Return when the worker last looked for jobs, by the monotonic clock in s; None: never.
    looked_at: Callable[[], float | None]
    #: Return when the sweep last began, by the monotonic clock in s.
    swept_at: Callable[[], float]
    #: The threads that must answer, by the name that people read.
    pings: Mapping[str, Ping]


class Heartbeat:
    """Writes the signs of life of this process."""

    def __init__(
        self,
        workers: Workers,
        journal: Journal,
        name: str,
        vitals: Vitals,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`name` is Celery's node name. `clock` is this machine's, in seconds since the epoch."""
        self._workers = workers
        self._journal = journal
        self._name = name
        self._vitals = vitals
        self._clock = clock
        self._run_id = uuid4().hex
        self._started_at = time.monotonic()
        self._disagreement = Disagreement(workers, name)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamstop-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and remove the worker from Redis. If Redis is away, it is lost half a minute later."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with suppress(*ERRORS), deadline(_LEAVE_TIMEOUT):
            self._workers.leave(self._run_id, self._name)

    def beat(self) -> None:
        """Write a sign of life."""
        sign = self._sign()
        accounts = len(self._vitals.book().accounts) - 1  # without streamstop's own
        text = f"version {sign.version}, accounts: {accounts}, slots: {sign.slots}"
        self._disagreement.note_books(self._workers.beat(self._run_id, sign, text=text))

    def note_account_changes(self, text: str) -> None:
        """Add the event that the worker has loaded other accounts. Any thread may call this."""
        try:
            self._journal.add(EventKind.ACCOUNTS_CHANGED, text, by=self._name)
        except ERRORS as error:
            log_error(_log, error, unreachable="the event of changed accounts is not written", became="not written")

    def _sign(self) -> SignOfLife:
        vitals = self._vitals
        for ping in vitals.pings.values():
            ping.ask()
        answered = {part: ping.age_s(_ANSWER_S) for part, ping in vitals.pings.items()}
        now, looked_at, stopping = time.monotonic(), vitals.looked_at(), vitals.slots.draining
        if not stopping:  # a worker that stops sweeps no more
            answered["the sweep"] = now - vitals.swept_at()
        return SignOfLife(
            name=self._name,
            host=socket.gethostname(),
            pid=getpid(),
            version=__version__,
            book=vitals.book().digest,
            slots=vitals.slots.concurrency,
            busy=vitals.slots.under_way,
            stopping=stopping,
            up=now - self._started_at,
            looked=None if looked_at is None else now - looked_at,
            answered=answered,
            clock=self._clock(),
        )

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001  # an error in one beat must not end the thread
                log_error(
                    _log,
                    error,
                    unreachable="the sign of life is not written and is retried in five seconds",
                    became="retried in five seconds",
                )
            if self._stopped.wait(BEAT.total_seconds()):
                return


class Disagreement:
    """Warns once of workers whose files have different limits for the same lanes."""

    def __init__(self, workers: Workers, name: str) -> None:
        self._workers = workers
        self._name = name
        self._unlike: Sequence[str] = ()
        self._beats = 0

    def note_books(self, unlike: Sequence[str]) -> None:
        """Compare the limits if other workers have had the same unlike books for three beats."""
        if unlike != self._unlike:
            self._unlike, self._beats = unlike, 0
        self._beats += 1
        if unlike and self._beats == _UNLIKE_BEATS:
            self._warn()

    def _warn(self) -> None:
        views = self._workers.views()
        found = [each for view in views if view.name == self._name for each in view.differences]
        if found:
            _log.warning(
                "workers disagree about limits", lanes=len(found), limits=[each.text for each in found[:_MOST_NAMED]]
            )
