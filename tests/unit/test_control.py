"""Control: what becomes of a step, on a Redis in memory, with a receiver that answers as a test wants."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from streamstop import callbacks
from streamstop.lanes import Lanes
from streamstop.results import Deferral
from streamstop.rooms import CALLBACKS, Rooms
from streamstop_worker.control import Control
from streamstop_worker.hold import LONGEST_LEFT, NEWER
from streamstop_worker.pacing import pace_of
from streamstop_worker.shutdowns import Shutdowns
from streamstop_worker.transport import Transport
from tests.support.moved_clock import MovedClock, fake_redis

URL = "https://example.com/hook"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def redis(clock: MovedClock) -> Iterator[Redis]:
    with fake_redis(clock) as redis:
        yield redis


class Told:
    """A shutdown that has ended, and whoever is to be told."""

    def __init__(self, redis: Redis, clock: MovedClock, callback: Mapping[str, Any], secret: str | None = "s") -> None:
        self.redis: Any = redis
        self.clock = clock
        self.lanes = Lanes(redis)
        self.rooms = Rooms(redis, self.lanes)
        self.requests: list[httpx.Request] = []
        self.signatures: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _request: httpx.Response(204)
        self.control = Control(
            self.lanes,
            Shutdowns(self.rooms, self.lanes),
            Transport(timedelta(seconds=1), 1, httpx.MockTransport(self._receive)),
            lambda signature, told: self.signatures.append((signature, told)),
            secret=secret,
            random=lambda: 1.0,
        )
        self.shutdown = self.rooms.open("r", [], now=datetime.now(UTC), verify=False, callback=callback)

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def deliver(self) -> Deferral | None:
        """Let a worker take the callback and carry it as far as it goes."""
        self.lanes.sweep(CALLBACKS, pace_of(CALLBACKS, None), owner="sweep", lease=timedelta(seconds=60))
        message = json.loads(self.redis.rpop("streamstop.ready"))
        argument = json.loads(message["body"])[0][0]
        return self.control.execute(message["headers"]["id"], CALLBACKS, argument)

    def is_over(self) -> bool:
        self.clock.advance(timedelta(hours=1))
        self.lanes.sweep(CALLBACKS, pace_of(CALLBACKS, None), owner="sweep", lease=timedelta(seconds=60))
        return CALLBACKS not in self.lanes.holding()


def test_a_url_is_told_what_the_handle_tells_signed(redis: Redis, clock: MovedClock) -> None:
    told = Told(redis, clock, {"url": URL})
    assert told.deliver() is None
    (request,) = told.requests
    body = request.read()
    progress = told.rooms.progress(told.shutdown)
    assert progress is not None
    assert json.loads(body) == progress.model_dump(mode="json")
    assert callbacks.verify("s", request.headers[callbacks.HEADER], body)
    assert told.is_over()


def test_a_url_that_answers_badly_is_told_again_and_given_up_after_eight_times(redis: Redis, clock: MovedClock) -> None:
    told = Told(redis, clock, {"url": URL})
    told.answer = lambda _request: httpx.Response(302, headers={"location": "https://elsewhere.example/"})
    for _ in range(7):
        deferral = told.deliver()
        assert deferral is not None
        assert deferral.reason == "example.com answered HTTP 302"
        clock.advance(timedelta(minutes=2))
    assert told.deliver() is None
    assert len(told.requests) == 8
    assert {request.url.host for request in told.requests} == {"example.com"}
    assert told.is_over()


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://[::1", "https://h:99999/", "https://a:b@h/", "ftp://h/", "", 5, ["x"], {}]
)
def test_an_address_that_no_producer_may_give_is_not_called(redis: Redis, clock: MovedClock, url: object) -> None:
    told = Told(redis, clock, {"url": url})
    assert told.deliver() is None
    assert told.requests == []
    assert told.is_over()


def test_an_address_that_only_looks_like_one_is_given_up(redis: Redis, clock: MovedClock) -> None:
    told = Told(redis, clock, {"url": "https://a b\x7f/"})
    deferral = told.deliver()
    assert deferral is not None
    assert deferral.reason.endswith(": InvalidURL")


def test_a_signature_that_cannot_be_sent_is_given_up_in_the_end(redis: Redis, clock: MovedClock) -> None:
    told = Told(redis, clock, {})
    told.control = replace(told.control, send_signature=lambda signature, _told: signature["task"])
    for _ in range(7):
        deferral = told.deliver()
        assert deferral is not None
        assert deferral.reason == "the signature cannot be sent (KeyError)"
        clock.advance(timedelta(minutes=2))
    assert told.deliver() is None
    assert told.is_over()


def test_without_a_secret_nothing_is_sent_and_nothing_tried_again(redis: Redis, clock: MovedClock) -> None:
    told = Told(redis, clock, {"url": URL}, secret=None)
    assert told.deliver() is None
    assert told.requests == []


def test_a_signature_is_sent_with_the_progress(redis: Redis, clock: MovedClock) -> None:
    told = Told(redis, clock, {"task": "rooms.closed", "options": {"queue": "q"}})
    assert told.deliver() is None
    ((signature, progress),) = told.signatures
    assert (signature["task"], progress["shutdown"], progress["status"]) == ("rooms.closed", told.shutdown, "done")
    assert told.is_over()


def test_a_step_that_this_worker_does_not_know_is_left_to_a_newer_one_and_then_ends_without_harm(
    redis: Redis, clock: MovedClock
) -> None:
    told = Told(redis, clock, {"url": URL})
    (queued,) = told.redis.lrange(CALLBACKS.queue, 0, -1)
    told.redis.delete(CALLBACKS.queue)
    told.redis.lpush(CALLBACKS.queue, queued.replace(b'\\"callback\\"', b'\\"dance\\"'))
    for _ in range(LONGEST_LEFT // NEWER):
        deferral = told.deliver()
        assert deferral is not None
        assert "no step 'dance'" in deferral.reason
        clock.advance(NEWER)
    clock.advance(NEWER)
    assert told.deliver() is None
    assert told.requests == []
    assert told.is_over()
