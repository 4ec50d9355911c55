"""The vendors that a soak can call: the simulator, which checks everything, and the fast one that only answers."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streamstop._core.lane import Lane
from streamstop_simulator import SimulatorClient, run_in_process
from streamstop_worker.accounts import Account
from tests.bench.answering import Answering, answering
from tests.bench.soak_load import enqueued_at
from tests.support.accounts import at_vendors

SIMULATOR, ANSWERING = VENDORS = ("simulator", "answering")
LATENCY_MS = 50
FORGET_EVERY_S = 20


@dataclass(frozen=True)
class SeenCall:
    """A call that has arrived."""

    lane: Lane
    #: The machine's monotonic clock.
    at: float
    latency_ms: float
    #: Whether the vendor dropped it as over the limit.
    dropped: bool


class SoakVendor(Protocol):
    """What the soak needs from a vendor."""

    url: str
    pid: int
    #: How many calls it has received.
    total: int

    def new_calls(self) -> list[SeenCall]:
        """Return the calls since the last time, in order."""
        ...


@contextmanager
def soak_vendor(name: str, accounts: Sequence[Account], lanes: Sequence[Lane], limit: int) -> Iterator[SoakVendor]:
    """Run the vendor called `name` until the block ends."""
    if name == ANSWERING:
        with answering(LATENCY_MS) as vendor:
            yield _Answering(vendor)
        return
    others = set(_children())
    with run_in_process() as simulator:
        (pid,) = set(_children()) - others
        simulator.settings(latency_ms=LATENCY_MS, auto_start=True)
        simulator.add_accounts(at_vendors(accounts))
        for lane in lanes:
            simulator.set_limit(lane.account, lane.operation, limit)
        yield _Simulator(simulator, pid)


class _Simulator:
    """The simulator. The soak tells it at intervals to forget calls and tasks."""

    def __init__(self, client: SimulatorClient, pid: int) -> None:
        self.url, self.pid = client.url, pid
        self._client = client
        self.total = 0
        self._forgot_at = time.monotonic()

    def new_calls(self) -> list[SeenCall]:
        calls = sorted(self._client.calls(since=self.total), key=lambda call: call.arrived_monotonic)
        if calls:
            # Indexes continue when the simulator forgets, so the count includes calls between a look and that moment.
            self.total = max(call.index for call in calls) + 1
        if time.monotonic() - self._forgot_at > FORGET_EVERY_S:
            self._forgot_at = time.monotonic()
            self._client.forget_calls()
            self._client.forget_tasks()
        return [
            SeenCall(
                Lane(call.account or "", call.operation or ""),
                call.arrived_monotonic,
                (call.arrived_at - enqueued_at(call.params)) * 1000,
                call.over_limit,
            )
            for call in calls
        ]


class _Answering:
    """The vendor that only answers. It forgets the calls that it has returned."""

    def __init__(self, vendor: Answering) -> None:
        self.url, self.pid = vendor.url, vendor.pid
        self.total = 0
        self._vendor = vendor

    def new_calls(self) -> list[SeenCall]:
        calls = self._vendor.take()
        self.total += len(calls)
        return [SeenCall(Lane(one.account, one.operation), one.at, one.latency_ms, dropped=False) for one in calls]


def _children() -> Iterator[int]:
    """Return this process' children. It needs /proc."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            yield int(stat.parent.name)
