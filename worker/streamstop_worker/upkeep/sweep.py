"""Sweep: every second, one worker returns the jobs of expired leases, and finds jobs that were not announced.

There is no leader: any worker may do the next sweep. Its cost grows with the lanes in use, not with the accounts.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial

import structlog

from streamstop._core.constants import MOST_DEAD
from streamstop._core.lane import Lane
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.controls import ControlStore
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import Schedule
from streamstop.errors import UnknownAccount
from streamstop.operations import OPERATIONS
from streamstop_worker.accounts import Accounts
from streamstop_worker.pipeline.bugs import log_broken_lanes, log_error
from streamstop_worker.pipeline.pacing import book_of

EVERY = timedelta(seconds=1)
#: How many sweeps apart a worker publishes its accounts.
PUBLISH_EVERY = 15
#: With more accounts than this, a sweep looks for unannounced jobs in only a part of them.
MOST_ACCOUNTS = 500
#: The number of those parts; each sweep checks the next one.
PARTS = 5

_log = structlog.get_logger("streamstop.sweep")


class Sweeper:
    """Sweeps in a thread of its own, so that a busy event loop does not delay it."""

    def __init__(  # each is a part of the worker
        self,
        schedule: Schedule,
        lanes: Lanes,
        accounts: Accounts,
        known_accounts: KnownAccounts,
        controls: ControlStore,
        *,
        longest_lease: timedelta,
        on_unserved: Callable[[Sequence[Lane]], None],
        finish_batches: Callable[[], object],
        log_ended_shutdowns: Callable[[int, int], object],
    ) -> None:
        """`on_unserved` receives lanes of accounts that no worker has; `finish_batches` applies accepted batches.

        `log_ended_shutdowns` receives the moments of the last sweep, 0 without one, and of this one, in µs.
        """
        self._schedule = schedule
        self._lanes = lanes
        self._accounts = accounts
        self._known_accounts = known_accounts
        self._controls = controls
        self._longest_lease = longest_lease
        self._on_unserved = on_unserved
        self._finish_batches = finish_batches
        self._log_ended_shutdowns = log_ended_shutdowns
        self._turn = 0
        #: Whether to leave the next sweep to another worker, which has just swept.
        self._is_resting = False
        self._unserved: deque[Lane] = deque()  # one thread adds, another removes
        self._vendors: list[tuple[str, str]] = []
        #: When the last sweep began, by the monotonic clock in s.
        self.swept_at = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamstop-sweep", daemon=True)

    def start(self) -> None:
        """Start the thread, which publishes the accounts and sweeps."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait up to 5 s for the end of its sweep."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def publish_now(self) -> None:
        """Publish the accounts at once, after a change. If that fails, a later sweep publishes them."""
        _run_logged(self.publish)

    def release_now(self, accounts: Iterable[str]) -> None:
        """End the holds of accounts that have another key now. If that fails, their next probes end them."""
        for account in accounts:
            _run_logged(partial(self._release, account))

    def publish(self) -> None:
        """Publish the accounts of this worker, which producers check, and their paces."""
        accounts = (self._accounts.get(name) for name in self._accounts.names)
        self._known_accounts.publish({account.name: account.vendor for account in accounts if account is not None})
        self._schedule.publish(book_of(self._accounts))
        if self._lanes.dead() >= MOST_DEAD:
            _log.error("the limit of dead letters is reached: the oldest are deleted", limit=MOST_DEAD)

    def add_unserved_lanes(self, unserved_lanes: Iterable[Lane]) -> None:
        """Remember lanes that this worker cannot serve and that no worker has served for a while."""
        self._unserved.extend(unserved_lanes)

    def sweep(self) -> None:
        """Sweep every lane in use, unless another worker has done so within the last second.

        A step that fails does not keep the others from running.
        """
        _run_logged(self._pass_on_unserved_lanes)
        if self._is_resting:
            self._is_resting = False
            return
        period = EVERY * 0.9
        while True:
            swept = self._schedule.sweep(longest_lease=self._longest_lease, period=period)
            if swept is None:
                self._is_resting = True
                return
            _run_logged(partial(self._log_ended_shutdowns, swept.last_us, swept.now_us))
            for lane, jobs in swept.expired_leases.items():
                _log.warning("leases expired: the jobs wait again", lane=lane.name, jobs=jobs)
            log_broken_lanes(_log, swept.broken)
            if swept.rescheduled:
                _log.warning("Redis' clock was set back: every lane is checked again", lanes=swept.rescheduled)
            if not swept.again:
                break
            period = timedelta(0)
        if swept.batches:
            _run_logged(self._finish_batches)
        if swept.controls:
            _run_logged(self._controls.end_expired)
        _run_logged(self._find_unannounced_jobs)

    def _find_unannounced_jobs(self) -> None:
        """Find jobs whose producers did not announce them. Plain Celery clients do not."""
        if self._turn % PARTS == 0 or not self._vendors:
            self._vendors = sorted(self._known_accounts.vendors().items())
        self._turn += 1
        parts = PARTS if len(self._vendors) > MOST_ACCOUNTS else 1
        part = self._vendors[self._turn % parts :: parts]
        for vendor, operations in _OPERATIONS.items():
            self._schedule.find([name for name, at in part if at == vendor], operations)

    def _pass_on_unserved_lanes(self) -> None:
        """Pass on the remembered lanes whose accounts no worker has, and that are not paused."""
        unserved_lanes = {self._unserved.popleft() for _ in range(len(self._unserved))}
        without_worker = [lane for lane in unserved_lanes if self._has_no_worker(lane)]
        if without_worker:
            controls = self._controls.read()
            without_worker = [lane for lane in without_worker if controls.pause_of(lane) is None]
        if without_worker:
            self._on_unserved(without_worker)

    def _has_no_worker(self, lane: Lane) -> bool:
        try:
            return self._known_accounts.vendor_of(lane.account) is None
        except UnknownAccount:
            return True

    def _release(self, account: str) -> None:
        if self._controls.release(account, f"a worker has another key for {account}"):
            _log.info("the account has another key and is no longer held", account=account)

    def _run(self) -> None:
        _run_logged(lambda: self._controls.probe_now(self._accounts.names))  # a new worker may have another key
        turn = 0
        while True:
            self.swept_at = time.monotonic()
            if turn % PUBLISH_EVERY == 0:
                _run_logged(self.publish)
            _run_logged(self.sweep)
            turn += 1
            if self._stopped.wait(EVERY.total_seconds()):
                return


def _run_logged(step: Callable[[], object]) -> None:
    """Run a step of the sweep, and log its error. The next sweep runs the step again."""
    try:
        step()
    except Exception as error:  # noqa: BLE001  # an error in one sweep must not end the thread
        log_error(_log, error, unreachable="the sweep failed and is retried in a second", became="retried in a second")


_OPERATIONS = {
    vendor: [name for name, declared in OPERATIONS.items() if declared.spec.product.vendor.name == vendor]
    for vendor in {declared.spec.product.vendor.name for declared in OPERATIONS.values()}
}
