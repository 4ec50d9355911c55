"""Crowds at the HTTP service: clients that never read what they are sent, and a Redis that goes away beneath many."""

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from streamstop import Client, Command
from streamstop._core.journal import EventKind
from streamstop._redis.journal import Journal
from streamstop.operations import StopMPUTask
from streamstop_simulator.child_process import end
from streamstop_simulator.demo.embedded_redis import RedisServer, free_port, redis_server
from tests.support.http_service import LONG_GRACE, HttpService, http_service
from tests.support.polling import eventually
from tests.support.sse import events

_MIB = 1024 * 1024
_EVENTS, _STUCK = 7000, 30
#: Streams of the events, streams of a shutdown, and long polls.
_CROWD = {"events": 100, "shutdown": 100, "polls": 50}
_EACH = {"Accept": "text/event-stream"}


def resident(service: HttpService) -> int:
    """Return the bytes of memory that the service takes."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def request(service: HttpService, path: str, accept: str = "text/event-stream") -> bytes:
    token = service.tokens["everything"]
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: {accept}\r\n\r\n".encode()
    )


@contextmanager
def stuck(service: HttpService, path: str) -> Iterator[None]:
    """Open a stream that nobody reads."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
        client.sendall(request(service, path))
        yield


@pytest.mark.long
def test_clients_that_never_read_cost_little_memory_and_do_not_hold_up_the_end(
    redis_url: str, real_redis: Redis, tmp_path: Path
) -> None:
    journal = Journal(real_redis)
    for number in range(_EVENTS):
        journal.add(EventKind.REQUEUED, "x" * 900 + str(number))
    with http_service(redis_url, tmp_path, environ=LONG_GRACE) as service, ExitStack() as stack:
        with service.http() as http:
            with http.stream("GET", "/v1/events?after=0-1", headers=_EACH) as answer:
                told = events(answer)
                assert len([next(told) for _ in range(_EVENTS)]) == _EVENTS
            before = resident(service)
            for _ in range(_STUCK):
                stack.enter_context(stuck(service, "/v1/events?after=0-1"))
            with http.stream("GET", "/v1/events?after=0-1", headers=_EACH) as answer:
                told = events(answer)
                assert len([next(told) for _ in range(_EVENTS)]) == _EVENTS, "others read everything"
            assert http.get("/healthz").status_code == httpx.codes.OK
            owed = _STUCK * _EVENTS * 1000
            assert resident(service) - before < owed / 4
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(60)  # of a grace of 120 s
        assert "timeout graceful shutdown exceeded" not in service.text()
        assert "Traceback" not in service.text()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "redis"
    folder.mkdir()
    return folder


async def crowd(service: HttpService, shutdown: str, redis: RedisServer) -> tuple[Counter[str], list[bytes]]:
    """Open streams and long polls, stop Redis, and return what the last thing was that each of them was told."""
    port = int(service.url.rpartition(":")[2])
    paths = ["/v1/events"] * _CROWD["events"] + [f"/v1/shutdowns/{shutdown}/events"] * _CROWD["shutdown"]
    streams, polls = [], []
    for path in paths:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(service, path))
        await reader.readuntil(b": open")
        streams.append((reader, writer))
    for _ in range(_CROWD["polls"]):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(service, f"/v1/shutdowns/{shutdown}?wait=60", "application/json"))
        polls.append((reader, writer))
    await asyncio.to_thread(end, redis.process, 20)
    lasts: Counter[str] = Counter()
    async with asyncio.timeout(120):
        for reader, _ in streams:
            sent = await reader.readuntil(b"\r\n0\r\n\r\n")
            lasts["reconnect" if b"event: reconnect" in sent else "silent"] += 1
        answers = [await reader.readuntil(b"\r\n") for reader, _ in polls]
    for _, writer in streams + polls:
        writer.close()
    return lasts, answers


@pytest.mark.long
def test_a_redis_that_is_restarted_tells_every_stream_to_come_again_and_the_service_goes_on(
    home: Path, tmp_path: Path
) -> None:
    port = free_port()
    with http_service(f"redis://127.0.0.1:{port}/0", tmp_path) as service:
        with redis_server("--appendonly", "yes", folder=home, port=port) as redis:
            with Client(redis.url) as client:
                stop = Command(operation=StopMPUTask(app_id="app", task_id="t"), account="live-cn")
                shutdown = client.stop_room("room", [stop]).id
            lasts, answers = asyncio.run(crowd(service, shutdown, redis))
            assert lasts == {"reconnect": _CROWD["events"] + _CROWD["shutdown"]}
            assert {answer.split()[1] for answer in answers} <= {b"503", b"200"}
        with service.http() as http, redis_server("--appendonly", "yes", folder=home, port=port):
            assert http.get("/healthz").status_code == httpx.codes.OK
            eventually(lambda: http.get("/readyz").status_code == httpx.codes.OK, "it is ready again")
            with http.stream("GET", f"/v1/shutdowns/{shutdown}/events", headers=_EACH) as answer:
                assert next(events(answer)).type == "progress"
            assert http.get(f"/v1/shutdowns/{shutdown}").json()["status"] == "open"
            assert "Traceback" not in service.text()
