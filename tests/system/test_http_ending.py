"""The end of the HTTP service: streams get a last event, long polls answer, and no grace period passes."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from streamstop import Client, Command
from streamstop._redis.rooms import shutdown_channel
from streamstop.operations import StopMPUTask
from streamstop_simulator.child_process import end
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from tests.support.http_app import SAME_ORIGIN
from tests.support.http_service import LONG_GRACE, TOKENS, http_service, tokens_toml
from tests.support.polling import eventually
from tests.support.sse import events

_MANY = 5
#: Of a grace period of 120 s.
_SOON_S = 60


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Return a Redis of the test's own, which it may stop."""
    with redis_server() as server:
        yield server


def opened(client: Client, room: str) -> str:
    stop = Command(operation=StopMPUTask(app_id="app", task_id=room), account="live-cn")
    return client.stop_room(room, [stop]).id


def followers(redis: Redis, shutdown: str) -> int:
    """Return how many processes follow a shutdown."""
    ((_, count),) = redis.pubsub_numsub(shutdown_channel(shutdown))
    return int(count)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.long
def test_streams_and_polls_end_with_the_processes(
    processes: int, redis_url: str, real_redis: Redis, client: Client, tmp_path: Path
) -> None:
    streamed = opened(client, "streamed")
    polled = [opened(client, f"polled-{number}") for number in range(_MANY)]
    with (
        http_service(redis_url, tmp_path, "--processes", str(processes), environ=LONG_GRACE) as service,
        ExitStack() as stack,
        ThreadPoolExecutor(_MANY) as threads,
    ):
        https = [stack.enter_context(service.http()) for _ in range(_MANY)]  # a connection each
        streams: list[Iterator[Any]] = []
        for path in (f"/v1/shutdowns/{streamed}/events", "/v1/events"):
            for http in https:
                headers = {"Accept": "text/event-stream"}
                streams.append(events(stack.enter_context(http.stream("GET", path, headers=headers))))
        assert {next(each).type for each in streams[:_MANY]} == {"progress"}
        polls = [
            threads.submit(httpx.Client.get, stack.enter_context(service.http()), f"/v1/shutdowns/{each}?wait=60")
            for each in polled
        ]
        for each in polled:
            eventually(lambda each=each: followers(real_redis, each), "the poll waits")  # type: ignore[misc]
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        for told in streams:
            *_, last = told
            assert (last.type, last.id) == ("reconnect", None)
            assert 0 < last.retry <= 3000
        for answer in (poll.result(60) for poll in polls):
            assert (answer.status_code, answer.json()["status"]) == (200, "open")
        service.process.wait(_SOON_S)
        assert time.monotonic() - began < _SOON_S
    log = service.text()
    assert "Traceback" not in log
    assert "timeout graceful shutdown exceeded" not in log


@pytest.mark.long
def test_a_stream_and_a_poll_tell_of_a_redis_that_has_gone(own_redis: RedisServer, tmp_path: Path) -> None:
    with Client(own_redis.url) as client:
        shutdown = opened(client, "room")
    with http_service(own_redis.url, tmp_path) as service, service.http() as http, ThreadPoolExecutor() as threads:
        with http.stream("GET", f"/v1/shutdowns/{shutdown}/events") as stream:
            told = events(stream)
            assert next(told).type == "progress"
            poll = threads.submit(http.get, f"/v1/shutdowns/{shutdown}?wait=60")
            end(own_redis.process, within_s=20)
            *_, last = told
            assert last.type == "reconnect"
        answer = poll.result(60)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:streamstop:problem:queue-unavailable")
        assert answer.headers["retry-after"] == "2"


@pytest.mark.long
def test_a_token_that_leaves_the_file_ends_its_streams_after_sighup_too(redis_url: str, tmp_path: Path) -> None:
    with http_service(redis_url, tmp_path) as service, ExitStack() as stack:
        assert service.tokens_file is not None
        streams = {}
        for name in ("reader", "operator"):
            http = stack.enter_context(httpx.Client(base_url=service.url, timeout=60, headers=SAME_ORIGIN))
            assert http.post("/sign-in", data={"token": service.tokens[name]}).status_code == httpx.codes.SEE_OTHER
            streams[name] = events(stack.enter_context(http.stream("GET", "/live/clock")))
            assert next(streams[name]).type == "changed"
        left = {name: kind for name, kind in TOKENS.items() if name != "reader"}
        service.tokens_file.write_text(tokens_toml(service.tokens, left))
        service.process.send_signal(signal.SIGHUP)
        assert {told.type for told in streams["reader"]} <= {"changed"}, "it ends, and need not come again"
        assert next(streams["operator"]).type == "changed"
        assert service.process.poll() is None


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.long
def test_every_process_reads_the_tokens_again_at_sighup_and_goes_on(
    processes: int, redis_url: str, tmp_path: Path
) -> None:
    with http_service(redis_url, tmp_path, "--processes", str(processes)) as service:
        assert service.tokens_file is not None
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        eventually(lambda: service.text().count("Application startup complete") == processes, "all serve")
        serving = children.read_text()
        with service.http() as http, http.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}):
            for loads in (1, 2):
                service.process.send_signal(signal.SIGHUP)
                eventually(lambda: service.text().count("tokens loaded") == loads * processes, "all read the file")  # noqa: B023
            service.tokens_file.write_text("[tokens]\nbroken")
            service.process.send_signal(signal.SIGHUP)
            eventually(lambda: service.text().count("tokens not loaded") >= processes, "all refuse the file")
            assert http.get("/v1/lanes").status_code == httpx.codes.OK, "the tokens stay"
        assert children.read_text() == serving
