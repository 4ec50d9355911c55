"""Events and errors over HTTP, on a real Redis: lists and pages, streams that resume, and who may see them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from streamstop import Client
from streamstop._core.constants import EVENTS
from tests.support.http_thread import ServedApp, served
from tests.support.polling import eventually
from tests.support.sse import events

ACCOUNT, OTHER = "live-cn", "another-account"
_STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[ServedApp]:
    with served(redis_url, tmp_path) as running:
        yield running


def happen(redis: Redis, account: str, *texts: str) -> list[str]:
    """Write events as workers do; return their ids."""
    written: list[Any] = [
        redis.xadd(EVENTS, {"kind": "resting", "account": account, "text": text}, maxlen=10_000) for text in texts
    ]
    redis.expire(EVENTS, 3600)
    redis.publish(EVENTS, "resting")
    return [event_id.decode() for event_id in written]


def stream(http: httpx.Client, last: str | None = None, **params: str) -> Any:
    headers = _STREAM if last is None else {**_STREAM, "Last-Event-ID": last}
    return http.stream("GET", "/v1/events", headers=headers, params=params)


def test_events_are_listed_by_account_and_in_pages(service: ServedApp, real_redis: Redis) -> None:
    ids = happen(real_redis, ACCOUNT, *map(str, range(5)))
    happen(real_redis, OTHER, "other")
    with service.http() as http:

        def texts(**params: str | int) -> list[str]:
            return [event["text"] for event in http.get("/v1/events", params=params).json()]

        assert texts() == [*"01234", "other"]
        assert texts(account=ACCOUNT) == [*"01234"]
        assert texts(account=ACCOUNT, limit=2) == ["3", "4"], "the latest"
        assert texts(after=ids[0], limit=2) == ["1", "2"], "the first ones after it"
        assert texts(after=ids[4], account=ACCOUNT) == []
        assert texts(since=3600, limit=1) == ["other"]
        for params, field in (({"after": "x"}, "after"), ({"limit": 0}, "limit"), ({"since": -1}, "since")):
            refused = http.get("/v1/events", params=params)
            assert (refused.status_code, refused.json()["field"]) == (422, field)


def test_a_stream_tells_what_happens_from_now_on(service: ServedApp, real_redis: Redis) -> None:
    happen(real_redis, ACCOUNT, "before")
    with service.http() as http, stream(http) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        eventually(lambda: service.listeners, "it listens")
        (written,) = happen(real_redis, ACCOUNT, "now")
        told = events(answer)
        event = next(told)
        assert (event.type, event.id, event.data["text"]) == ("message", written, "now")
        assert event.data["account"] == ACCOUNT
    eventually(lambda: (service.waits.open, service.following.count, service.listeners) == (0, 0, 0), "nothing waits")


def test_a_stream_that_resumes_repeats_nothing_and_misses_nothing(service: ServedApp, real_redis: Redis) -> None:
    ids = happen(real_redis, ACCOUNT, *map(str, range(3)))
    with service.http() as http, ExitStack() as stack:
        other = events(stack.enter_context(stream(http)))  # which has begun to read later than they resume
        eventually(lambda: service.listeners, "it listens")
        for params, last in (({}, ids[0]), ({"after": ids[0]}, None), ({"after": ids[2]}, ids[0])):
            with stream(http, last, **params) as answer:
                told = events(answer)
                assert [next(told).id for _ in range(2)] == ids[1:]
        newer = happen(real_redis, ACCOUNT, "newer")
        assert [next(other).id] == newer
        with stream(http, ids[2]) as answer:
            told = events(answer)
            assert next(told).id == newer[0]
            newest = happen(real_redis, ACCOUNT, "newest")
            assert next(told).id == newest[0]
        refused = http.get("/v1/events", headers={**_STREAM, "Last-Event-ID": "x"})
        assert (refused.status_code, refused.json()["field"]) == (422, "after")


def test_a_follower_that_lags_behind_misses_nothing_and_holds_up_no_other(
    service: ServedApp, real_redis: Redis
) -> None:
    before = happen(real_redis, ACCOUNT, *map(str, range(2000)))
    with service.http() as http, ExitStack() as stack:
        lagging, other = (events(stack.enter_context(stream(http))) for _ in range(2))
        eventually(lambda: service.listeners and service.following.events.followers == 2, "they listen")
        ids = happen(real_redis, ACCOUNT, *("x" * 400 for _ in range(4000)))
        assert [next(other).id for _ in ids] == ids
        assert [next(lagging).id for _ in ids] == ids
        late = events(stack.enter_context(stream(http, before[1])))
        assert [next(late).id for _ in [*before[2:], *ids]] == [*before[2:], *ids]


def test_many_streams_listen_once(service: ServedApp, real_redis: Redis) -> None:
    with service.http() as http, ExitStack() as stack:
        told = [events(stack.enter_context(stream(http))) for _ in range(20)]
        eventually(lambda: service.following.events.followers == 20 and service.listeners, "they listen")
        assert (service.following.count, service.listeners) == (1, 1)
        (written,) = happen(real_redis, ACCOUNT, "now")
        assert {next(each).id for each in told} == {written}


def test_the_end_of_the_process_ends_the_stream(service: ServedApp, real_redis: Redis) -> None:
    with service.http() as http, stream(http) as answer:
        told = events(answer)
        eventually(lambda: service.listeners, "it listens")
        (written,) = happen(real_redis, ACCOUNT, "last")
        assert next(told).id == written
        service.loop.call_soon_threadsafe(service.app.state.ending.begin)
        (last,) = told
        assert (last.type, last.id) == ("reconnect", None)


def test_a_token_for_other_accounts_sees_only_theirs(service: ServedApp, real_redis: Redis, client: Client) -> None:
    client.pause("all", by="somebody")
    happen(real_redis, ACCOUNT, "ours")
    with service.http("elsewhere") as http, stream(http) as answer:
        told = events(answer)
        eventually(lambda: service.listeners, "it listens")
        happen(real_redis, ACCOUNT, "ours again")
        (written,) = happen(real_redis, OTHER, "theirs")
        assert next(told).id == written
        assert [event["text"] for event in http.get("/v1/events").json()] == ["theirs"]
        for path in ("/v1/events", "/v1/errors"):
            assert http.get(path, params={"account": ACCOUNT}).status_code == httpx.codes.FORBIDDEN
            assert http.get(path, params={"account": OTHER}).status_code == httpx.codes.OK
    client.resume("all")


def test_errors_are_counted_since_half_an_hour(service: ServedApp) -> None:
    with service.http() as http:
        assert http.get("/v1/errors").json() == []
        refused = http.get("/v1/errors", params={"since": 86401})
        assert (refused.status_code, refused.json()["field"]) == (422, "since")
