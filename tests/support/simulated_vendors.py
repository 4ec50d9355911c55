"""The simulated vendors with a manual clock, and calls signed by the worker's own code."""

import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from streamstop.operations import Operation
from streamstop_simulator.clock import Clock
from streamstop_simulator.simulation import Settings, Simulation
from streamstop_simulator.tasks import TaskStart
from streamstop_simulator.wire import Answer, Arrival
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Request
from tests.support.accounts import at_vendors

LIVE = Account("live-cn", "aliyun", "live-key", "live-secret")
LIVE_V1 = replace(LIVE, name="live-v1", access_key_id="live-v1-key", signature="v1")
LIVE_STS = Account("live-sts", "aliyun", "sts-key", "sts-secret", "sts-token")
TRTC = Account("trtc-sg", "tencent", "trtc-key", "trtc-secret", region="ap-singapore")
TRTC_STS = Account("trtc-sts", "tencent", "tsts-key", "tsts-secret", "tsts-token", region="ap-singapore")
ACCOUNTS = (LIVE, LIVE_V1, LIVE_STS, TRTC, TRTC_STS)


def arrival_of(request: Request, epoch: float, at: float = 0.0) -> Arrival:
    """Return `request` as it arrives at the server."""
    parts = urlsplit(request.url)
    headers = {"host": parts.netloc} | {name.lower(): value for name, value in request.headers.items()}
    return Arrival(request.method, parts.path or "/", parts.query, headers, request.body, epoch, at)


@dataclass
class Vendors:
    """A simulation whose clock advances only by :meth:`turn`. Times are seconds."""

    settings: Settings = field(default_factory=Settings)
    epoch: float = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    monotonic: float = 1000.0

    def __post_init__(self) -> None:
        self._nonces = (f"nonce-{number}" for number in itertools.count())
        clock = Clock(epoch=lambda: self.epoch, monotonic=lambda: self.monotonic)
        self.simulation = Simulation(at_vendors(ACCOUNTS), self.settings, clock)

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.epoch += seconds
        self.monotonic += seconds

    def start(self, account: Account, operation: Operation, **more: Any) -> None:
        """Start the task that `operation` names."""
        params = operation.params | more.pop("params", {})
        start = TaskStart(account=account.name, operation=operation.spec.id, params=params, **more)
        self.simulation.tasks.start(start)

    def sign(self, account: Account, operation: Operation, *, signed_at: float | None = None) -> Arrival:
        """Return the call as the worker signs it, with a new nonce."""
        now = datetime.fromtimestamp(self.epoch if signed_at is None else signed_at, UTC)
        protocol = PROTOCOLS[account.vendor]
        request = protocol.build(operation, account, now=now, nonce=next(self._nonces))
        return arrival_of(request, self.epoch, self.monotonic)

    def send(self, arrival: Arrival) -> Answer:
        """Return the answer to a call."""
        answer = self.simulation.answer(arrival)
        assert answer is not None
        return answer

    def call(self, account: Account, operation: Operation) -> tuple[int, dict[str, Any]]:
        """Sign and send; return the HTTP status and the reply's fields, without Tencent's envelope."""
        return status_and_fields(self.send(self.sign(account, operation)))


def status_and_fields(answer: Answer) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the reply's fields, without Tencent's envelope."""
    fields = json.loads(answer.body)
    return answer.status, fields.get("Response", fields)


def code(answer: Answer) -> str | None:
    """Return the vendor's error code, None for a success."""
    _, fields = status_and_fields(answer)
    found = fields.get("Code") or fields.get("Error", {}).get("Code")
    return None if found is None else str(found)
