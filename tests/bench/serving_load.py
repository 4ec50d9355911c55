"""The load of the bench's HTTP scenario, in a process of its own: clients that wait, and clients that enqueue.

``python -m tests.bench.serving_load`` reads a :class:`Load` as JSON, prints a line when the waiting clients are
connected, enqueues when it reads a line, and prints :class:`Figures` as JSON. It speaks HTTP over bare sockets, so that
it takes little of the machine.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

#: Connections over which commands are enqueued.
_ENQUEUERS = 32
_WARM_UP = 50
_POLL_S = 30


@dataclass(frozen=True)
class Load:
    """What clients do."""

    port: int
    token: str
    #: How many clients follow each of these shutdowns by a stream, and how many by long polls.
    streamed: Sequence[str]
    polled: Sequence[str]
    streams: int
    polls: int
    #: How many follow the events.
    event_streams: int
    #: Commands a second, and for how long.
    rate: int
    seconds: float


@dataclass
class Figures:
    """What clients saw."""

    #: From the moment at which each command was due, to the answer.
    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    #: From the first command to the last answer.
    span_s: float = 0.0
    #: What the streams were sent while commands were enqueued.
    stream_events: int = 0
    poll_answers: int = 0
    lost: int = 0


class _Client(asyncio.Protocol):
    """A connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


class _Stream(_Client):
    """A client that follows a stream."""

    def __init__(self, request: bytes, figures: Figures) -> None:
        self._request, self._figures = request, figures
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self.opened.set_result(data.startswith(b"HTTP/1.1 200"))
        self._figures.stream_events += data.count(b"\ndata: ") + data.startswith(b"data: ")

    def connection_lost(self, _: Exception | None) -> None:
        self._figures.lost += 1
        if not self.opened.done():
            self.opened.set_result(False)


class _Asker(_Client):
    """A client that asks, gets an answer with a length, and can ask again."""

    def __init__(self, answered: Callable[["_Asker", bool], None], figures: Figures) -> None:
        self._answered, self._figures = answered, figures
        self._received = b""

    def ask(self, request: bytes) -> None:
        self._received = b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._answered(self, head.startswith(b"HTTP/1.1 2"))

    def connection_lost(self, _: Exception | None) -> None:
        self._figures.lost += 1


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise RuntimeError(f"an answer without a length: {head!r}")


class _Waiting:
    """The clients that wait."""

    def __init__(self, load: Load, figures: Figures) -> None:
        self._load, self._figures = load, figures

    async def connect(self) -> None:
        """Connect all of them, some at a time."""
        load, loop = self._load, asyncio.get_running_loop()
        paths = [f"/v1/shutdowns/{load.streamed[n % len(load.streamed)]}/events" for n in range(load.streams)]
        paths += ["/v1/events"] * load.event_streams
        for start in range(0, len(paths), 50):
            opened = []
            for path in paths[start : start + 50]:
                request = _request("GET", path, load.token, accept="text/event-stream")
                made = partial(_Stream, request, self._figures)
                _, stream = await loop.create_connection(made, "127.0.0.1", load.port)
                opened.append(stream.opened)
            if not all(await asyncio.gather(*opened)):
                raise RuntimeError("a stream was refused")
        for number in range(load.polls):
            path = f"/v1/shutdowns/{load.polled[number % len(load.polled)]}?wait={_POLL_S}"
            request = _request("GET", path, load.token)

            def again(asker: _Asker, is_right: bool, request: bytes = request) -> None:
                self._figures.poll_answers += 1
                self._figures.failed += not is_right
                asker.ask(request)

            _, asker = await loop.create_connection(partial(_Asker, again, self._figures), "127.0.0.1", load.port)
            asker.ask(request)


class _Enqueuing:
    """The clients that enqueue, each command at its time. A command that no connection is free for waits."""

    def __init__(self, load: Load, figures: Figures) -> None:
        self._load, self._figures = load, figures
        self._free: deque[_Asker] = deque()
        self._due: dict[_Asker, float] = {}
        self._waiting: deque[float] = deque()
        self._number = 0
        self._all = asyncio.Event()

    async def run(self, commands: int, rate: int) -> None:
        """Enqueue so many commands."""
        loop = asyncio.get_running_loop()
        while len(self._free) < _ENQUEUERS:
            made = partial(_Asker, self._answered, self._figures)
            _, asker = await loop.create_connection(made, "127.0.0.1", self._load.port)
            self._free.append(asker)
        self._wanted = commands
        self._all.clear()
        began = time.perf_counter()
        for number in range(commands):
            due = began + number / rate
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            self._waiting.append(due)
            self._send()
        await self._all.wait()
        self._figures.span_s = time.perf_counter() - began

    def _send(self) -> None:
        while self._free and self._waiting:
            asker, self._number = self._free.popleft(), self._number + 1
            self._due[asker] = self._waiting.popleft()
            params = {"AppId": "bench", "TaskId": f"task-{self._number}"}
            body = json.dumps({"operation": "live.StopMPUTask", "account": "live", "params": params}).encode()
            asker.ask(_request("POST", "/v1/jobs", self._load.token, body))

    def _answered(self, asker: _Asker, is_right: bool) -> None:
        self._figures.latencies_s.append(time.perf_counter() - self._due.pop(asker))
        self._figures.failed += not is_right
        self._free.append(asker)
        self._wanted -= 1
        if not self._wanted:
            self._all.set()
        self._send()


def _request(method: str, path: str, token: str, body: bytes = b"", *, accept: str = "application/json") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", f"Accept: {accept}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _run(load: Load) -> Figures:
    figures, loop = Figures(), asyncio.get_running_loop()
    enqueuing = _Enqueuing(load, figures)
    await _Waiting(load, figures).connect()
    await enqueuing.run(_WARM_UP, load.rate)
    figures.latencies_s.clear()
    _tell("connected")
    await loop.run_in_executor(None, sys.stdin.readline)
    figures.stream_events = figures.poll_answers = 0
    await enqueuing.run(round(load.rate * load.seconds), load.rate)
    return figures


if __name__ == "__main__":
    _tell(json.dumps(asdict(asyncio.run(_run(Load(**json.loads(sys.stdin.readline())))))))
