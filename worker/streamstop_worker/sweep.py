"""Sweep: every second, one of the workers mends every lane that holds jobs. It needs no leader that could be lost."""

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import uuid4

import structlog

from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import UNREACHABLE, Lane, Lanes
from streamstop.operations import OPERATIONS
from streamstop_worker.accounts import Accounts
from streamstop_worker.pacing import pace_of
from streamstop_worker.set_aside import SetAside

EVERY = timedelta(seconds=1)
#: How often a worker says which accounts it has.
PUBLISH_EVERY = 15
#: Dead letters that are kept, as the lanes' scripts have it.
MOST_DEAD = 100_000

_log = structlog.get_logger("streamstop.sweep")


class Sweeper:
    """Sweeps from a thread of its own, so that a busy worker's jobs are mended too."""

    def __init__(self, lanes: Lanes, accounts: Accounts, known_accounts: KnownAccounts, set_aside: SetAside) -> None:
        self._lanes = lanes
        self._accounts = accounts
        self._known_accounts = known_accounts
        self._set_aside = set_aside
        # Workers need not have the same settings.
        self._longest_lease = 2 * set_aside.lease
        self._name = uuid4().hex
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
        """Tell producers at once that the accounts have changed, from a thread: signal handlers must not wait."""
        threading.Thread(target=_guarded, args=(self.publish,), name="streamstop-publish", daemon=True).start()

    def publish(self) -> None:
        """Tell producers which accounts this worker has."""
        accounts = (self._accounts.get(name) for name in self._accounts.names)
        self._known_accounts.publish({account.name: account.vendor for account in accounts if account is not None})
        if self._lanes.dead() >= MOST_DEAD:
            _log.error("there are as many dead letters as are kept: the oldest go", letters=MOST_DEAD)

    def sweep(self) -> None:
        """Mend every lane once, if no other worker does so in this second."""
        if not self._lanes.may_sweep(EVERY * 0.9):
            return
        lanes = self._lanes.holding()
        for lane in lanes | self._lanes.untold(_possible_lanes(self._known_accounts.vendors()) - lanes):
            pace = pace_of(lane, self._accounts.get(lane.account))
            swept = self._lanes.sweep(lane, pace, owner=self._name, lease=self._longest_lease)
            if swept.lapsed:
                _log.warning("leases ran out: jobs wait again", lane=lane.name, jobs=swept.lapsed)
            for job_id, message in swept.unbegun:
                self._set_aside.give_up(lane, job_id, message, owner=self._name)

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


def _possible_lanes(vendors: Mapping[str, str]) -> frozenset[Lane]:
    """Return every lane that a producer which cannot nudge may have published to."""
    return frozenset(
        Lane(account, operation)
        for account, vendor in vendors.items()
        for operation, declaration in OPERATIONS.items()
        if declaration.spec.product.vendor.name == vendor
    )
