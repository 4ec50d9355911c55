"""What the simulator saw: every call, and each lane's counts. It holds no key, signature or token.

Calls are kept up to a bound, the oldest go first; the counts are never cut. Times in calls are those of the arrival.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a vendor, as it arrived, and how it was answered."""

    index: int
    vendor: str
    #: The account that the call claims to be; None if no account has its access key id.
    account: str | None
    #: ``<product>.<Action>``; None if no operation has the action.
    operation: str | None
    #: The action as the call names it.
    action: str | None
    method: str
    #: The operation's parameters; empty for an unknown operation.
    params: dict[str, Any]
    #: Seconds since the epoch.
    arrived_at: float
    #: Seconds of the simulator's monotonic clock.
    arrived_monotonic: float
    #: ``ok``, the vendor's code, or the fault's kind.
    answer: str
    #: HTTP status; that of a spoiled answer is what would have been sent.
    status: int
    request_id: str
    #: The signature was accepted.
    authenticated: bool
    #: The call was over its lane's limit.
    over_limit: bool
    #: The vendor did what was asked, whatever the caller got to hear.
    carried_out: bool
    fault: str | None = None


@dataclass(slots=True)
class LaneCounts:
    """What one lane saw; only calls whose signature was accepted count."""

    calls: int = 0
    ok: int = 0
    #: Answered as over the limit: truly, or by a fault.
    throttled: int = 0
    #: Truly over the limit: the number that must stay 0.
    over_limit: int = 0
    faults: int = 0
    first_at: float | None = None
    last_at: float | None = None
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, call: Call) -> None:
        """Count one call."""
        self.calls += 1
        self.ok += call.answer == "ok"
        self.throttled += call.over_limit or call.fault == "throttle"
        self.over_limit += call.over_limit
        self.faults += call.fault is not None
        self.first_at = call.arrived_at if self.first_at is None else min(self.first_at, call.arrived_at)
        self.last_at = call.arrived_at if self.last_at is None else max(self.last_at, call.arrived_at)
        self.answers[call.answer] += 1


class Journal:
    """Calls in the order in which they were answered, and the counts."""

    def __init__(self, keep: int = 1_000_000) -> None:
        self._calls: deque[Call] = deque(maxlen=keep)
        self._waiting: list[asyncio.Future[None]] = []
        self.next_index = 0
        self.lanes: dict[tuple[str, str], LaneCounts] = {}
        #: Codes of refused credentials, signatures and unknown actions to how often.
        self.refusals: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        """Keep a call, count it, and wake whoever waits for calls."""
        self._calls.append(call)
        self.next_index = call.index + 1
        if call.authenticated and call.account is not None and call.operation is not None:
            self.lanes.setdefault((call.account, call.operation), LaneCounts()).add(call)
        else:
            self.refusals[call.answer] += 1
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    def since(self, index: int, account: str | None = None, operation: str | None = None) -> Iterator[Call]:
        """Return the kept calls from `index` on, of one account or operation if it is given."""
        first = self.next_index - len(self._calls)
        return (
            call
            for call in islice(self._calls, max(0, index - first), None)
            if account in {None, call.account} and operation in {None, call.operation}
        )

    async def changed(self) -> None:
        """Wait for the next call."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def clear(self) -> None:
        """Forget every call and count; indexes go on."""
        self._calls.clear()
        self.lanes.clear()
        self.refusals.clear()

    @staticmethod
    def to_json(call: Call) -> dict[str, Any]:
        """Return what ``GET /_control/calls`` shows."""
        return asdict(call)
