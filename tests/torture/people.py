"""What people do in a run: they pause scopes, set limits, and replace an account's key at the vendor."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from streamstop import Client, QueueUnavailable
from streamstop._core.lane import Lane
from streamstop_simulator import SimulatorClient
from streamstop_simulator.accounts import Account as VendorAccount

_BY = "torture"
_PATIENCE_S = 120.0
#: How long the simulator keeps a raised limit after the override was cleared: calls of that second count there.
_STILL_RAISED_S = 2.0
_NEW_SECRET = "d8a2-secret-that-no-worker-has-51b7"


@dataclass(frozen=True)
class LimitChange:
    """A change of a lane's limit. Moments are seconds since the epoch. Changes of one lane follow each other."""

    lane: Lane
    #: Calls per second; None: the override was cleared.
    limit: float | None
    asked: float
    answered: float


class People:
    """Uses a client without a proxy. Repeats a change until Redis accepts it, because Redis may be away."""

    def __init__(self, redis_url: str, simulator: SimulatorClient, accounts: Sequence[VendorAccount]) -> None:
        self._redis_url = redis_url
        self._simulator = simulator
        self._accounts = {account.name: account for account in accounts}
        self._keys_lock = threading.Lock()
        self._revoked: Counter[str] = Counter()
        self._lane_locks: defaultdict[Lane, threading.Lock] = defaultdict(threading.Lock)
        self._raised: defaultdict[Lane, list[float]] = defaultdict(list)
        #: Every change of a limit, in the order in which Redis answered.
        self.limit_changes: list[LimitChange] = []

    def pause(self, scope: str) -> None:
        """Pause a scope."""
        self._insist(lambda client: client.pause(scope, by=_BY))

    def resume(self, scope: str) -> None:
        """End the pause of a scope, and the hold of an account."""
        self._insist(lambda client: client.resume(scope, by=_BY))

    def end_all(self) -> None:
        """End the pauses and overrides that are left. Redis may forget their end, if it is killed right after."""

        def end(client: Client) -> None:
            for pause in client.pauses():
                client.resume(pause.scope, by=_BY)
            for limit in client.limits():
                client.clear_limit(limit.account, limit.operation, by=_BY)

        self._insist(end)

    @contextmanager
    def limited(self, lane: Lane, limit: float) -> Iterator[None]:
        """Override the limit of a lane until the block ends. The vendor allows a higher limit for that time."""
        with self._lane_locks[lane]:
            self._raised[lane].append(limit)
            self._tell_vendor(lane)
        try:
            self._change(lane, limit)
            yield
        finally:
            self._change(lane, None)
            time.sleep(_STILL_RAISED_S)
            with self._lane_locks[lane]:
                self._raised[lane].remove(limit)
                self._tell_vendor(lane)

    @contextmanager
    def revoked(self, account: str) -> Iterator[None]:
        """Let the vendor refuse an account's key until the block ends."""
        self._revoke(account, 1)
        try:
            yield
        finally:
            self._revoke(account, -1)

    def _change(self, lane: Lane, limit: float | None) -> None:
        def change(client: Client) -> None:
            if limit is None:
                client.clear_limit(lane.account, lane.operation, by=_BY)
            else:
                client.set_limit(lane.account, lane.operation, limit, above_vendor=True, by=_BY)

        with self._lane_locks[lane]:
            asked = time.time()
            self._insist(change)
            self.limit_changes.append(LimitChange(lane, limit, asked, time.time()))

    def _tell_vendor(self, lane: Lane) -> None:
        own = self._accounts[lane.account].limits[lane.operation]
        self._simulator.set_limit(lane.account, lane.operation, max([own, *self._raised[lane]]))

    def _revoke(self, account: str, by: int) -> None:
        with self._keys_lock:
            self._revoked[account] += by
            known = self._accounts[account]
            key = _NEW_SECRET if self._revoked[account] else known.access_key_secret
            self._simulator.add_accounts([replace(known, access_key_secret=key)])

    def _insist(self, change: Callable[[Client], object]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        with Client(self._redis_url) as client:
            while True:
                try:
                    change(client)
                except QueueUnavailable:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
                else:
                    return
