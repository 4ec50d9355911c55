"""Records every call, and counts calls by lane. It contains no key, signature or token.

Beyond a maximum number, the oldest calls are deleted; the counts still include them.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a vendor, and its answer."""

    index: int
    vendor: str
    #: The account with the call's access key id; None if there is none.
    account: str | None
    #: ``<product>.<Action>``; None for an unknown action.
    operation: str | None
    #: The action as the call names it.
    action: str | None
    method: str
    #: The operation's parameters; empty for an unknown operation.
    params: dict[str, Any]
    #: When the request's headers arrived, in seconds since the epoch.
    arrived_at: float
    #: The same moment, in seconds of the simulator's monotonic clock.
    arrived_monotonic: float
    #: When the simulator read the request and decided on its answer, in seconds since the epoch.
    decided_at: float
    #: ``ok``, the vendor's code, or the kind of fault.
    answer: str
    #: The HTTP status. For an answer that was cut or not sent: the status that it had before.
    status: int
    request_id: str
    #: Whether the signature was accepted.
    authenticated: bool
    #: Whether the call was over its lane's limit.
    over_limit: bool
    #: Whether the vendor carried out the call, whatever the answer was.
    carried_out: bool
    fault: str | None = None


@dataclass(slots=True)
class LaneCounts:
    """The counts of one lane. Only calls with an accepted signature count."""

    calls: int = 0
    ok: int = 0
    #: Calls answered as over the limit, by the limit or by a fault.
    throttled: int = 0
    #: Calls over the limit. A correct caller has none.
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
    """The calls, in the order of their answers, and the counts."""

    def __init__(self, max_calls: int = 1_000_000) -> None:
        self._calls: deque[Call] = deque(maxlen=max_calls)
        self._waiting: list[asyncio.Future[None]] = []
        self.next_index = 0
        self.lanes: dict[tuple[str, str], LaneCounts] = {}
        #: How many calls were rejected with each code: wrong credentials or signature, or an unknown action.
        self.refusals: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        """Record a call, count it, and wake the waiters."""
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
        """Return the recorded calls from `index`, of one account or operation if it is given."""
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
        """Delete every call and count; indexes continue."""
        self._calls.clear()
        self.lanes.clear()
        self.refusals.clear()

    @staticmethod
    def to_json(call: Call) -> dict[str, Any]:
        """Return the JSON of ``GET /_control/calls``."""
        return asdict(call)
