"""A vendor that only answers: an HTTP/1.1 server in its own process, which notes the time of each call.

It checks no signature and rejects no call, so it needs about a tenth of the simulator's CPU.
"""

import asyncio
import re
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from streamstop.operations import OPERATIONS

_ANSWERS = {
    b"x-acs-": b'{"RequestId":"00000000-0000-0000-0000-000000000000","Status":1}',
    b"x-tc-": b'{"Response":{"RequestId":"00000000-0000-0000-0000-000000000000"}}',
}
_KEY, _LENGTH = b"credential=key-", b"content-length:"
#: A task's name as the bench's producers make it: a number, and the moment of sending.
_SENT_AT = re.compile(rb'[="][0-9]+-([0-9]+\.[0-9]{6})')
_START_TIMEOUT_S = 30


@dataclass(frozen=True)
class Arrival:
    """A call."""

    #: The machine's monotonic clock.
    at: float
    #: Seconds since the epoch.
    epoch: float
    account: str
    operation: str
    #: When its job was enqueued, from its task's name, in seconds since the epoch; 0 if the name does not say.
    sent_at: float

    @property
    def latency_ms(self) -> float:
        """The time from before the enqueueing to the arrival."""
        return (self.epoch - self.sent_at) * 1000


class Answering:
    """The harness' handle of the running vendor. The key id ``key-<account>`` identifies an account."""

    def __init__(self, connection: "Connection[Any, Any]", pid: int) -> None:
        self._connection = connection
        self.pid = pid
        if not connection.poll(_START_TIMEOUT_S):
            raise RuntimeError("the answering vendor did not start")
        self.url = f"http://127.0.0.1:{connection.recv()}"

    def set_latency(self, milliseconds: float) -> None:
        """Set the delay between the arrival of a call and its answer."""
        self._ask("latency", milliseconds / 1000)

    def counts(self) -> Counter[str]:
        """Return how many calls each account has made since the last :meth:`take`."""
        return Counter({account.decode(): count for account, count in self._ask("counts").items()})

    def take(self) -> list[Arrival]:
        """Return the calls since the last time, in order, and forget them."""
        names = {(spec.product.version, spec.action): spec.id for spec in (kind.spec for kind in OPERATIONS.values())}
        return [
            Arrival(at, epoch, account.decode(), names[version.decode(), action.decode()], float(sent_at))
            for at, epoch, account, version, action, sent_at in self._ask("take")
        ]

    def _ask(self, what: str, value: float = 0.0) -> Any:
        self._connection.send((what, value))
        return self._connection.recv()


def most_in_a_second(arrivals: Iterable[Arrival]) -> dict[tuple[str, str], int]:
    """Return, for each account and operation, the most calls in any one second, wherever it begins."""
    lanes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in arrivals:
        lanes[one.account, one.operation].append(one.at)
    for times in lanes.values():
        times.sort()
    return {
        lane: max(bisect_left(times, at + 1.0) - number for number, at in enumerate(times))
        for lane, times in lanes.items()
    }


@contextmanager
def answering(latency_ms: float = 0.0) -> Iterator[Answering]:
    """Run the vendor until the block ends."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=[theirs], daemon=True)
    process.start()
    try:
        assert process.pid is not None
        vendor = Answering(ours, process.pid)
        vendor.set_latency(latency_ms)
        yield vendor
    finally:
        process.terminate()
        process.join()


class _Vendor:
    """The state that all connections share."""

    def __init__(self, control: "Connection[Any, Any]") -> None:
        self._control = control
        self.latency_s = 0.0
        self._counts: Counter[bytes] = Counter()
        self._calls: list[tuple[float, float, bytes, bytes, bytes, bytes]] = []

    def note(self, head: bytes, lowered: bytes, body: bytes) -> bytes:
        """Note a call; return the answer."""
        kind = b"x-acs-" if b"\r\nx-acs-" in lowered else b"x-tc-"
        begin = lowered.find(_KEY) + len(_KEY)
        ends = (lowered.find(b",", begin), lowered.find(b"/", begin))
        account = lowered[begin : min(end for end in ends if end > 0)]
        version, action = (_header(head, lowered, kind + name) for name in (b"version", b"action"))
        found = _SENT_AT.search(body or head[: head.find(b"\r\n")])
        sent_at = found[1] if found else b"0"
        self._calls.append((time.monotonic(), time.time(), account, version, action, sent_at))
        self._counts[account] += 1
        content = _ANSWERS[kind]
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(content),
            content,
        )

    def control(self) -> None:
        """Handle a request of the harness."""
        match self._control.recv():
            case "latency", seconds:
                self.latency_s = seconds
                self._control.send(None)
            case "counts", _:
                self._control.send(self._counts)
            case "take", _:
                calls, self._calls, self._counts = self._calls, [], Counter()
                self._control.send(calls)


class _Connection(asyncio.Protocol):
    """One persistent connection. It parses only the part of HTTP that workers use."""

    def __init__(self, vendor: _Vendor) -> None:
        self._vendor = vendor
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[: end + 2]
            lowered = head.lower()
            body_at = end + 4
            whole = body_at + int(_header(head, lowered, _LENGTH[:-1]) or 0)
            if len(self._received) < whole:
                return
            body, self._received = self._received[body_at:whole], self._received[whole:]
            answer = self._vendor.note(head, lowered, body)
            if self._vendor.latency_s:
                self._loop.call_later(self._vendor.latency_s, self._answer, answer)
            else:
                self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _header(head: bytes, lowered: bytes, name: bytes) -> bytes:
    begin = lowered.find(b"\r\n" + name + b":")
    if begin < 0:
        return b""
    begin += len(name) + 3
    return head[begin : lowered.find(b"\r\n", begin)].strip()


def _run(control: "Connection[Any, Any]") -> None:
    asyncio.run(_serve(control))


async def _serve(control: "Connection[Any, Any]") -> None:
    vendor = _Vendor(control)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(vendor), "127.0.0.1", 0, backlog=4096)
    loop.add_reader(control.fileno(), vendor.control)
    control.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
