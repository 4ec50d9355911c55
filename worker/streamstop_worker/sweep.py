"""Sweep: every second, one of the workers mends what others left, and looks for what nobody has announced.

It needs no leader that could be lost, and costs what lanes hold, not what accounts exist.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import structlog

from streamstop._redis.constants import MOST_DEAD
from streamstop.errors import UnknownAccount
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import UNREACHABLE, Lane, Lanes, Schedule
from streamstop.operations import OPERATIONS
from streamstop_worker.accounts import Accounts
from streamstop_worker.pipeline.pacing import book_of

EVERY = timedelta(seconds=1)
#: How often, in sweeps, a worker says which accounts it has.
PUBLISH_EVERY = 15
#: The most accounts whose lanes are looked for in one sweep; of more, a part each second.
MOST_ACCOUNTS = 500
#: In how many sweeps all accounts are looked at, where there are more.
PARTS = 5

_log = structlog.get_logger("streamstop.sweep")


class Sweeper:
    """Sweeps from a thread of its own, so that a busy worker's jobs are mended too."""

    def __init__(  # each is one part of the worker
        self,
        schedule: Schedule,
        lanes: Lanes,
        accounts: Accounts,
        known_accounts: KnownAccounts,
        *,
        longest_lease: timedelta,
        on_strangers: Callable[[Sequence[Lane]], None],
        finish_batches: Callable[[], object],
    ) -> None:
        """`on_strangers` is given lanes of accounts that no worker has; `finish_batches` applies accepted batches."""
        self._schedule = schedule
        self._lanes = lanes
        self._accounts = accounts
        self._known_accounts = known_accounts
        self._longest_lease = longest_lease
        self._on_strangers = on_strangers
        self._finish_batches = finish_batches
        self._turn = 0
        self._strangers: deque[Lane] = deque()  # one thread puts in, another takes out
        self._vendors: list[tuple[str, str]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamstop-sweep", daemon=True)

    def start(self) -> None:
        """Publish the accounts and begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a sweep that has begun ends."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def publish_now(self) -> None:
        """Tell producers at once that the accounts have changed; where Redis is away, a later sweep does."""
        _guarded(self.publish)

    def publish(self) -> None:
        """Tell producers which accounts this worker has."""
        accounts = (self._accounts.get(name) for name in self._accounts.names)
        self._known_accounts.publish({account.name: account.vendor for account in accounts if account is not None})
        self._schedule.publish(book_of(self._accounts))
        if self._lanes.dead() >= MOST_DEAD:
            _log.error("there are as many dead letters as are kept: the oldest go", letters=MOST_DEAD)

    def met(self, strangers: Iterable[Lane]) -> None:
        """Note lanes that this worker cannot serve, and that nobody has served for a while."""
        self._strangers.extend(strangers)

    def sweep(self) -> None:
        """Mend every lane once, if no other worker does so in this second."""
        self._look_after_strangers()
        period = EVERY * 0.9
        while True:
            swept = self._schedule.sweep(longest_lease=self._longest_lease, period=period)
            if swept is None:
                return
            for lane, jobs in swept.lapsed.items():
                _log.warning("leases ran out: jobs wait again", lane=lane.name, jobs=jobs)
            if swept.moved:
                _log.warning("Redis' clock was set back: every lane is looked at again", lanes=swept.moved)
            if not swept.again:
                break
            period = timedelta(0)
        if swept.batches:
            self._finish_batches()
        self._look_for_arrivals()

    def _look_for_arrivals(self) -> None:
        """Find jobs of producers that announce nothing."""
        if self._turn % PARTS == 0 or not self._vendors:
            self._vendors = sorted(self._known_accounts.vendors().items())
        self._turn += 1
        parts = PARTS if len(self._vendors) > MOST_ACCOUNTS else 1
        part = self._vendors[self._turn % parts :: parts]
        for vendor, operations in _OPERATIONS.items():
            self._schedule.find([name for name, at in part if at == vendor], operations)

    def _look_after_strangers(self) -> None:
        """Have jobs taken of accounts that no worker has."""
        strangers = {self._strangers.popleft() for _ in range(len(self._strangers))}
        nobodys = [lane for lane in strangers if self._is_nobodys(lane)]
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


def _guarded(step: Callable[[], None]) -> None:
    """Run a step of the sweep; the next second does what Redis' absence kept this one from."""
    try:
        step()
    except UNREACHABLE as error:
        _log.warning("Redis did not answer; swept again in a second", error=type(error).__name__)
    except Exception:  # noqa: BLE001  # a fault in one second must not end the sweep
        _log.exception("the sweep met a fault")


_OPERATIONS = {
    vendor: [name for name, declared in OPERATIONS.items() if declared.spec.product.vendor.name == vendor]
    for vendor in {declared.spec.product.vendor.name for declared in OPERATIONS.values()}
}
