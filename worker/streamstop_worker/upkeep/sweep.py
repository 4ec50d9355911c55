"""Sweep: every second, one of the workers returns jobs of expired leases, and finds jobs that nobody announced.

There is no leader: any worker may do the next sweep. Its cost grows with the lanes in use, not with the accounts.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import structlog

from streamstop._core.constants import MOST_DEAD
from streamstop._core.lane import Lane
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import Schedule
from streamstop.errors import UnknownAccount
from streamstop.operations import OPERATIONS
from streamstop_worker.accounts import Accounts
from streamstop_worker.pipeline.bugs import tell, tell_broken
from streamstop_worker.pipeline.pacing import book_of

EVERY = timedelta(seconds=1)
#: A worker publishes its accounts once in so many sweeps.
PUBLISH_EVERY = 15
#: With more accounts than this, a sweep looks for unannounced jobs of a part of them only.
MOST_ACCOUNTS = 500
#: In how many parts the accounts are then looked at, one part a sweep.
PARTS = 5

_log = structlog.get_logger("streamstop.sweep")


class Sweeper:
    """Sweeps in a thread of its own, so that a busy event loop does not delay it."""

    def __init__(  # each is one part of the worker
        self,
        schedule: Schedule,
        lanes: Lanes,
        accounts: Accounts,
        known_accounts: KnownAccounts,
        *,
        longest_lease: timedelta,
        on_unserved: Callable[[Sequence[Lane]], None],
        finish_batches: Callable[[], object],
    ) -> None:
        """`on_unserved` receives lanes of accounts that no worker has; `finish_batches` applies accepted batches."""
        self._schedule = schedule
        self._lanes = lanes
        self._accounts = accounts
        self._known_accounts = known_accounts
        self._longest_lease = longest_lease
        self._on_strangers = on_unserved
        self._finish_batches = finish_batches
        self._turn = 0
        self._unserved: deque[Lane] = deque()  # filled in one thread, emptied in another
        self._vendors: list[tuple[str, str]] = []
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
        """Tell producers at once that the accounts have changed. If Redis does not answer, a later sweep tells them."""
        _guarded(self.publish)

    def publish(self) -> None:
        """Tell producers which accounts this worker has."""
        accounts = (self._accounts.get(name) for name in self._accounts.names)
        self._known_accounts.publish({account.name: account.vendor for account in accounts if account is not None})
        self._schedule.publish(book_of(self._accounts))
        if self._lanes.dead() >= MOST_DEAD:
            _log.error("there are as many dead letters as are kept: the oldest go", letters=MOST_DEAD)

    def met(self, unserved_lanes: Iterable[Lane]) -> None:
        """Note lanes that this worker cannot serve, and that no worker has served for a while."""
        self._unserved.extend(unserved_lanes)

    def sweep(self) -> None:
        """Sweep every lane in use, unless another worker has done so within the last second.

        A step that fails does not keep the others from running.
        """
        _guarded(self._look_after_strangers)
        period = EVERY * 0.9
        while True:
            swept = self._schedule.sweep(longest_lease=self._longest_lease, period=period)
            if swept is None:
                return
            for lane, jobs in swept.expired_leases.items():
                _log.warning("leases ran out: jobs wait again", lane=lane.name, jobs=jobs)
            tell_broken(_log, swept.broken)
            if swept.rescheduled:
                _log.warning("Redis' clock was set back: every lane is looked at again", lanes=swept.rescheduled)
            if not swept.again:
                break
            period = timedelta(0)
        if swept.batches:
            _guarded(self._finish_batches)
        _guarded(self._look_for_arrivals)

    def _look_for_arrivals(self) -> None:
        """Find jobs whose producers did not announce them, such as plain Celery clients."""
        if self._turn % PARTS == 0 or not self._vendors:
            self._vendors = sorted(self._known_accounts.vendors().items())
        self._turn += 1
        parts = PARTS if len(self._vendors) > MOST_ACCOUNTS else 1
        part = self._vendors[self._turn % parts :: parts]
        for vendor, operations in _OPERATIONS.items():
            self._schedule.find([name for name, at in part if at == vendor], operations)

    def _look_after_strangers(self) -> None:
        """Pass on the noted lanes whose accounts no worker has."""
        unserved_lanes = {self._unserved.popleft() for _ in range(len(self._unserved))}
        nobodys = [lane for lane in unserved_lanes if self._is_nobodys(lane)]
        if nobodys:
            self._on_strangers(nobodys)

    def _is_nobodys(self, lane: Lane) -> bool:
        try:
            return self._known_accounts.vendor_of(lane.account) is None
        except UnknownAccount:
            return True

    def _run(self) -> None:
        turn = 0
        while True:
            if turn % PUBLISH_EVERY == 0:
                _guarded(self.publish)
            _guarded(self.sweep)
            turn += 1
            if self._stopped.wait(EVERY.total_seconds()):
                return


def _guarded(step: Callable[[], object]) -> None:
    """Run a step of the sweep, and log its faults: the next sweep runs it again."""
    try:
        step()
    except Exception as error:  # noqa: BLE001  # a fault in one sweep must not end the thread
        again = "it is swept again in a second"
        tell(_log, error, unreachable=f"not swept; {again}", became=again)


_OPERATIONS = {
    vendor: [name for name, declared in OPERATIONS.items() if declared.spec.product.vendor.name == vendor]
    for vendor in {declared.spec.product.vendor.name for declared in OPERATIONS.values()}
}
