"""Shutdowns over HTTP, on a real Redis: long polls, streams that resume, outcomes by pages, and who may see them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from streamstop import Client, Command, Shutdown
from streamstop._redis import waiting
from streamstop._redis.shutdown_views import ShutdownViews
from streamstop.operations import StopMPUTask
from streamstop_server.waiting import following, streams
from tests.support.http_thread import ServedApp, served
from tests.support.polling import eventually
from tests.support.room_driver import RoomDriver
from tests.support.sse import ServerEvent, events


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[ServedApp]:
    with served(redis_url, tmp_path) as running:
        yield running


@pytest.fixture
def room(real_redis: Redis, client: Client) -> RoomDriver:
    return RoomDriver(real_redis, client)


def opened(room: RoomDriver, *names: str) -> Shutdown:
    """Stop a room with these tasks; each has its job."""
    room.register(*names)
    shutdown = room.stop()
    room.fan_out(shutdown)
    return shutdown


def end(room: RoomDriver, shutdown: Shutdown, *members: str) -> None:
    for member in members:
        room.end(shutdown, member)


def stream(http: httpx.Client, shutdown: Shutdown, last: str | None = None) -> Any:
    headers = {} if last is None else {"Last-Event-ID": last}
    return http.stream("GET", f"/v1/shutdowns/{shutdown.id}/events", headers=headers)


def idle(service: ServedApp) -> bool:
    return (service.waits.open, service.following.count, service.listeners) == (0, 0, 0)


def test_a_long_poll_answers_when_the_shutdown_has_ended(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a", "b")
    with service.http() as http, ThreadPoolExecutor() as threads:
        polling = threads.submit(http.get, f"/v1/shutdowns/{shutdown.id}", params={"wait": 60})
        eventually(lambda: service.waits.open, "the poll waits")
        end(room, shutdown, *room.members())
        answer = polling.result(60).json()
        assert (answer["status"], answer["total"], answer["ended"], answer["pending"]) == ("done", 2, 2, 0)
        assert (answer["shutdown"], answer["room"], answer["seconds_left"]) == (shutdown.id, "room", 0.0)
    eventually(lambda: idle(service), "nothing waits")


def test_a_long_poll_answers_at_the_end_of_its_wait(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a")
    with service.http() as http:
        for wait in (0, 0.3):
            answer = http.get(f"/v1/shutdowns/{shutdown.id}", params={"wait": wait})
            assert (answer.status_code, answer.json()["status"]) == (200, "open")
        for wrong in ("-1", "61", "x", "nan", "inf"):
            refused = http.get(f"/v1/shutdowns/{shutdown.id}", params={"wait": wrong})
            assert (refused.status_code, refused.json()["field"]) == (422, "wait")


def test_an_unknown_shutdown_is_not_found(service: ServedApp) -> None:
    with service.http() as http:
        for path in ("", "?wait=1", "/events", "/outcomes"):
            answer = http.get(f"/v1/shutdowns/unknown{path}")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:streamstop:problem:unknown-shutdown")
        assert http.delete("/v1/shutdowns/unknown").status_code == httpx.codes.NOT_FOUND
        assert http.get("/v1/shutdowns/a%00b").status_code == httpx.codes.UNPROCESSABLE_ENTITY
    eventually(lambda: idle(service), "nothing waits")


def test_a_stream_tells_states_and_then_the_end(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a", "b", "c")
    first, *others = room.members()
    with service.http() as http, stream(http, shutdown) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        told = events(answer)
        begin = next(told)
        assert (begin.type, begin.data["ended"]) == ("progress", 0)
        end(room, shutdown, first)
        assert next(told).data["ended"] == 1
        end(room, shutdown, *others)
        *_, last = told
    assert (last.type, last.data["status"], last.data["ended"]) == ("end", "done", 3)
    assert last.id not in {None, begin.id}
    eventually(lambda: idle(service), "nothing waits")


def test_a_stream_that_resumes_repeats_nothing_and_misses_no_end(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a", "b")
    with service.http() as http:
        with stream(http, shutdown) as answer:
            seen = next(events(answer))
        with stream(http, shutdown, seen.id) as answer:
            told = events(answer)
            end(room, shutdown, room.members()[0])
            changed = next(told)
            assert changed.data["ended"] == 1, "the state that the client has seen is not repeated"
        for member in room.members():
            end(room, shutdown, member)
        for last_seen in (changed.id, seen.id, None, "never-heard-of"):
            with stream(http, shutdown, last_seen) as answer:
                assert [event.type for event in events(answer)] == ["end"]
        with stream(http, shutdown) as answer:
            (ended,) = events(answer)
        with stream(http, shutdown, ended.id) as answer:
            assert answer.status_code == httpx.codes.NO_CONTENT, "an EventSource stops then"


def test_the_id_of_a_state_is_the_same_in_another_process(
    service: ServedApp, room: RoomDriver, redis_url: str, tmp_path: Path
) -> None:
    shutdown = opened(room, "a")
    (folder := tmp_path / "second").mkdir()
    with service.http() as http, stream(http, shutdown) as answer:
        seen = next(events(answer))
    with served(redis_url, folder) as second, second.http() as http, stream(http, shutdown, seen.id) as answer:
        end(room, shutdown, *room.members())
        assert [event.type for event in events(answer)] == ["end"]


def test_many_streams_of_a_shutdown_read_it_once(
    service: ServedApp, room: RoomDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_AGAIN_S", 3600.0)  # nobody looks without news
    reads, real = [], ShutdownViews.progress

    def counted(views: ShutdownViews, shutdown: str) -> Any:
        reads.append(shutdown)
        return real(views, shutdown)

    monkeypatch.setattr(ShutdownViews, "progress", counted)
    shutdown = opened(room, *"abc")
    members = room.members()
    with ExitStack() as stack:
        http = stack.enter_context(service.http())
        told = [events(stack.enter_context(stream(http, shutdown))) for _ in range(40)]
        assert {next(each).data["ended"] for each in told} == {0}
        assert service.waits.open == 40
        assert service.following.count == 1
        assert service.listeners == 1
        tasks = service.tasks()
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("streamstop")]
        before = len(reads)
        end(room, shutdown, *members)
        last: list[ServerEvent] = [list(each)[-1] for each in told]
    assert {(event.type, event.data["ended"]) for event in last} == {("end", 3)}
    assert len(reads) - before <= 4, "each change is read once, for all of them"
    assert tasks <= 40 * 4 + 10, "a stream costs its request's tasks"
    assert threads.count("streamstop-news") == 1
    assert len(threads) <= 17, "the client's sixteen, and the one that listens: a stream has none of its own"
    eventually(lambda: idle(service), "nothing waits")


def test_a_client_that_goes_leaves_nothing(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a")
    with service.http() as http:
        http.get("/healthz")
        before = service.tasks()
        for _ in range(3):
            with stream(http, shutdown) as answer:
                told = events(answer)  # closes the connection when nobody holds it
                next(told)
                assert service.waits.open == 1
            eventually(lambda: idle(service), "nothing waits")
            with service.asked(f"/v1/shutdowns/{shutdown.id}?wait=60"):
                eventually(lambda: service.waits.open == 1, "the poll waits")
            eventually(lambda: idle(service), "nothing waits")
        eventually(lambda: service.tasks() <= before, "no task is left")


def test_so_many_may_wait_and_no_more(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a")
    service.waits.most = 1
    with service.http() as http, stream(http, shutdown) as answer:
        told = events(answer)  # closes the connection when nobody holds it
        next(told)
        for path in ("?wait=1", "/events"):
            refused = http.get(f"/v1/shutdowns/{shutdown.id}{path}")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["type"] == "urn:streamstop:problem:too-many-waits"
        assert http.get(f"/v1/shutdowns/{shutdown.id}").status_code == httpx.codes.OK, "who does not wait is served"
    eventually(lambda: idle(service), "nothing waits")
    with service.http() as http:
        assert http.get(f"/v1/shutdowns/{shutdown.id}", params={"wait": 0.1}).status_code == httpx.codes.OK


def test_a_silent_stream_is_kept_alive(service: ServedApp, room: RoomDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "KEEP_ALIVE_S", 0.05)
    shutdown = opened(room, "a")
    with service.http() as http, stream(http, shutdown) as answer:
        told = events(answer, pings=True)
        next(told)
        assert next(told) == ServerEvent("comment", data="ping")
    assert streams.KEEP_ALIVE_S <= 15


def test_the_end_of_the_process_ends_streams_and_polls(service: ServedApp, room: RoomDriver) -> None:
    shutdown = opened(room, "a")
    with service.http() as http, stream(http, shutdown) as answer, ThreadPoolExecutor() as threads:
        told = events(answer)
        next(told)
        polling = threads.submit(http.get, f"/v1/shutdowns/{shutdown.id}", params={"wait": 60})
        eventually(lambda: service.waits.open == 2, "both wait")
        service.loop.call_soon_threadsafe(service.app.state.ending.begin)
        (last,) = told
        assert (last.type, last.id) == ("reconnect", None)
        assert last.retry is not None
        assert polling.result(60).json()["status"] == "open"


def test_outcomes_come_page_by_page(service: ServedApp, room: RoomDriver, real_redis: Redis) -> None:
    names = [f"t-{number}" for number in range(600)]
    shutdown = opened(room, *names)
    end(room, shutdown, *room.members())
    jobs: list[str] = []
    cursor, pages = None, 0
    with service.http() as http:
        while pages == 0 or cursor:
            params: dict[str, Any] = {"limit": 100} | ({"cursor": cursor} if cursor else {})
            before = scans(real_redis)
            page = http.get(f"/v1/shutdowns/{shutdown.id}/outcomes", params=params).json()
            assert scans(real_redis) - before <= 4, "a page does not read the whole room"
            assert len(page["outcomes"]) < 250
            jobs += [outcome["job_id"] for outcome in page["outcomes"]]
            cursor, pages = page["next"], pages + 1
    assert pages > 2
    assert len(jobs) == len(set(jobs)) == 600


def scans(redis: Redis) -> int:
    stats: Any = redis.info("commandstats")
    return int(stats.get("cmdstat_hscan", {"calls": 0})["calls"])


def test_recent_shutdowns_begin_with_the_open_ones(service: ServedApp, room: RoomDriver, client: Client) -> None:
    ended = client.stop_room("ended")
    shutdown = opened(room, "a")
    with service.http() as http:
        assert [one["shutdown"] for one in http.get("/v1/shutdowns").json()] == [shutdown.id, ended.id]
        assert [one["shutdown"] for one in http.get("/v1/shutdowns?limit=1").json()] == [shutdown.id]


def test_a_cancelled_shutdown_names_who_did_it(service: ServedApp, room: RoomDriver, client: Client) -> None:
    shutdown = opened(room, "a")
    with service.http() as http:
        assert http.delete(f"/v1/shutdowns/{shutdown.id}").json()["shutdown"] == shutdown.id
        room.take_back(shutdown)
        assert http.get(f"/v1/shutdowns/{shutdown.id}", params={"wait": 30}).json()["status"] == "cancelled"
        assert http.delete(f"/v1/shutdowns/{shutdown.id}").json()["status"] == "cancelled"
    (event,) = client.events()
    assert (event.kind, event.by) == ("cancelled", "everything")


def test_a_token_for_other_accounts_sees_nothing_of_a_shutdown(
    service: ServedApp, room: RoomDriver, client: Client
) -> None:
    ours, theirs = opened(room, "a"), client.stop_room("theirs", [stop("another-account")])
    mixed = client.stop_room("mixed", [stop("another-account"), stop("live-cn")])
    with service.http("elsewhere") as http:
        for shutdown in (ours, mixed):
            for path in ("", "?wait=60", "/events", "/outcomes"):  # a client of 30 s
                assert http.get(f"/v1/shutdowns/{shutdown.id}{path}").status_code == httpx.codes.FORBIDDEN
            assert http.delete(f"/v1/shutdowns/{shutdown.id}").status_code == httpx.codes.FORBIDDEN
        assert [one["shutdown"] for one in http.get("/v1/shutdowns").json()] == [theirs.id]
        with stream(http, theirs) as answer:
            told = events(answer)
            assert next(told).data["shutdown"] == theirs.id
            client.stop_room("theirs", [stop("live-cn")])
            room.fan_out(theirs)
            assert [event for event in told if "live-cn" in str(event.data)] == [], "it ends when another account joins"


def stop(account: str) -> Command:
    return Command(operation=StopMPUTask(app_id="app", task_id="t"), account=account)
