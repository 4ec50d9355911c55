"""The end of each step of a shutdown, on a Redis in memory, with a scripted receiver of callbacks."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import SpanKind
from redis import Redis

from streamstop import callbacks
from streamstop._core.constants import ARRIVALS
from streamstop._core.lane import Lane
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.rooms import CALLBACKS, CONTROL, Rooms
from streamstop._tracing import Sending, sending
from streamstop._wire.messages import celery_message
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.observing.tracing import Tracing
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import LONGEST_LEFT, NO_WORKER_DELAY, End, GivenBack, StepDone
from streamstop_worker.pipeline.steps import THREADS, Steps
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.transport import Transport
from tests.support.manual_clock import ManualClock
from tests.support.pipeline import LEASE, Work, work
from tests.support.tracing import Spans, ids, traceparent

UNTRACED = Sending()
URL = "https://example.com/hook"


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Iterator[Work]:
    with work(redis, tmp_path) as bench:
        yield bench


class Told:
    """A shutdown that has ended, and whoever is to be told."""

    def __init__(
        self,
        work: Work,
        clock: ManualClock,
        callback: Mapping[str, Any],
        secret: str | None = "s",
        *,
        traced: Sending = UNTRACED,
    ) -> None:
        self.work = work
        self.clock = clock
        self.rooms = Rooms(work.redis, work.lanes)
        self.requests: list[httpx.Request] = []
        self.signatures: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _request: httpx.Response(204)
        self.steps = Steps(
            schedule=work.schedule,
            shutdowns=Shutdowns(self.rooms, work.lanes),
            transport=Transport(timedelta(seconds=1), 1, httpx.MockTransport(self._receive)),
            send_signature=lambda signature, told: self.signatures.append((signature, told)),
            secret=secret,
            report=work.reporter.report,
            slots=work.slots,
            record_ttl=timedelta(days=1),
            random=lambda: 1.0,
        )
        self.shutdown = self.rooms.open("r", [], now=datetime.now(UTC), verify=False, callback=callback, traced=traced)

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def take(self, lane: Lane = CALLBACKS) -> Delivery:
        """Take the next step of a lane."""
        (delivery,) = [one for one in self.work.take(10) if one.taken.lane == lane]
        return delivery

    def deliver(self) -> End:
        """Let a worker take the callback and carry it as far as it goes."""
        return self.work.run(self.steps.execute(self.take(), lambda: None))

    def deferred(self) -> Deferral:
        """As `deliver`, where it is to be tried again."""
        end = self.deliver()
        assert isinstance(end, Deferral)
        return end

    def is_over(self) -> bool:
        self.clock.advance(timedelta(hours=1))
        self.work.schedule.sweep(longest_lease=2 * LEASE, period=timedelta(0))
        view = self.work.lanes.view(CALLBACKS)
        return (view.waiting, view.in_flight, view.deferred) == (0, 0, 0)


def test_a_url_is_told_what_the_handle_tells_signed(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": URL})
    assert told.deliver() == StepDone("callback")
    (request,) = told.requests
    body = request.read()
    progress = told.rooms.shutdowns.progress(told.shutdown)
    assert progress is not None
    assert json.loads(body) == progress.model_dump(mode="json")
    assert callbacks.verify("s", request.headers[callbacks.HEADER], body)
    assert told.is_over()


def test_the_callback_is_in_the_trace_in_which_the_shutdown_was_opened(
    bench: Work, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = Spans()
    spans.set_for_process(monkeypatch)
    with sending(["streamstop.shutdown"]) as traced:
        told = Told(bench, clock, {"url": URL}, traced=traced)
    told.steps = replace(told.steps, observer=Tracing(spans.provider))
    assert told.deliver() == StepDone("callback")
    (opened,), (called_back,) = spans.ended(SpanKind.PRODUCER), spans.ended(SpanKind.CONSUMER)
    assert called_back.parent is not None
    assert (ids(called_back)[0], called_back.parent.span_id) == ids(opened)
    (request,) = told.requests
    assert request.headers["traceparent"] == traceparent(called_back)


def test_a_url_that_answers_badly_is_told_again_and_given_up_after_eight_times(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": URL})
    told.answer = lambda _request: httpx.Response(302, headers={"location": "https://elsewhere.example/"})
    for _ in range(7):
        deferral = told.deferred()
        assert deferral.reason == "example.com answered HTTP 302"
        clock.advance(timedelta(minutes=2))
    assert told.deliver() == StepDone("callback")
    assert len(told.requests) == 8
    assert {request.url.host for request in told.requests} == {"example.com"}
    assert told.is_over()


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://[::1", "https://h:99999/", "https://a:b@h/", "ftp://h/", "", 5, ["x"], {}]
)
def test_an_address_that_no_producer_may_give_is_not_called(bench: Work, clock: ManualClock, url: object) -> None:
    told = Told(bench, clock, {"url": url})
    assert told.deliver() == StepDone("callback")
    assert told.requests == []
    assert told.is_over()


def test_an_address_that_only_looks_like_one_is_given_up(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": "https://a b\x7f/"})
    deferral = told.deferred()
    assert deferral.reason.endswith(": InvalidURL")


def test_a_signature_that_cannot_be_sent_is_given_up_in_the_end(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {})
    told.steps = replace(told.steps, send_signature=lambda signature, _told: signature["task"])
    for _ in range(7):
        deferral = told.deferred()
        assert deferral.reason == "the signature cannot be sent (KeyError)"
        clock.advance(timedelta(minutes=2))
    assert told.deliver() == StepDone("callback")
    assert told.is_over()


def test_without_a_secret_nothing_is_sent_and_nothing_tried_again(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": URL}, secret=None)
    assert told.deliver() == StepDone("callback")
    assert told.requests == []


def test_a_signature_is_sent_with_the_progress(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"task": "rooms.closed", "options": {"queue": "q"}})
    assert told.deliver() == StepDone("callback")
    ((signature, progress),) = told.signatures
    assert (signature["task"], progress["shutdown"], progress["status"]) == ("rooms.closed", told.shutdown, "done")
    assert told.is_over()


def test_a_step_that_this_worker_does_not_know_is_left_to_a_newer_one_and_then_ends_without_harm(
    bench: Work, clock: ManualClock
) -> None:
    told = Told(bench, clock, {"url": URL})
    (queued,) = bench.redis.lrange(CALLBACKS.queue, 0, -1)
    bench.redis.delete(CALLBACKS.queue)
    bench.redis.lpush(CALLBACKS.queue, queued.replace(b'\\"callback\\"', b'\\"dance\\"'))
    for _ in range(LONGEST_LEFT // NO_WORKER_DELAY):
        deferral = told.deferred()
        assert "no step 'dance'" in deferral.reason
        clock.advance(NO_WORKER_DELAY)
    clock.advance(NO_WORKER_DELAY)
    assert told.deliver() == StepDone("dance")
    assert told.requests == []
    assert told.is_over()


@pytest.mark.long
def test_a_step_that_redis_fails_over_is_given_back_once_and_is_then_a_dead_letter_that_can_be_requeued(
    bench: Work, clock: ManualClock
) -> None:
    told = Told(bench, clock, {"url": URL})
    key = f"streamstop.shutdown.{told.shutdown}:lanes"
    kept = bench.redis.dump(key)
    bench.redis.set(key, "of another program")
    assert isinstance(told.deliver(), GivenBack)
    outcome = told.deliver()
    assert isinstance(outcome, Outcome)
    assert outcome.message is not None
    assert (outcome.result, "ResponseError WRONGTYPE" in outcome.message) == (Result.GAVE_UP, True)
    assert told.requests == []
    bench.redis.delete(key)
    if kept is not None:
        bench.redis.restore(key, 0, kept)
    letters = DeadLetterStore(bench.redis, bench.lanes)
    (letter,) = letters.letters()
    assert letter.outcome == outcome
    letters.requeue(letter.id)
    assert told.deliver() == StepDone("callback")
    assert len(told.requests) == 1
    assert told.is_over()


def test_a_step_of_a_worker_that_shuts_down_goes_back_untouched(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": URL})
    bench.slots.drain()
    assert isinstance(told.deliver(), GivenBack)
    assert (bench.lanes.view(CALLBACKS).waiting, told.requests) == (1, [])


def test_a_step_that_another_worker_owns_does_nothing(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": URL})
    delivery = told.take()
    stale = replace(delivery, taken=replace(delivery.taken, owner="somebody before"))
    assert isinstance(bench.run(told.steps.execute(stale, lambda: None)), GivenBack)
    assert told.requests == []
    assert bench.lanes.view(CALLBACKS).in_flight == 1, "it is still the other's"


def test_a_step_that_waits_for_its_turn_goes_back_when_the_worker_shuts_down(bench: Work, clock: ManualClock) -> None:
    told = Told(bench, clock, {"url": URL})
    argument = {"step": "fan_out", "shutdown": told.shutdown}
    bench.redis.lpush(CONTROL.queue, celery_message(CONTROL.new_job_id(), CONTROL, argument))
    bench.redis.sadd(ARRIVALS, CONTROL.name)
    delivery = told.take(CONTROL)

    async def with_all_threads_busy() -> End:
        for _ in range(THREADS):
            await told.steps.free_threads.acquire()
        step = asyncio.create_task(told.steps.execute(delivery, lambda: None))
        while not bench.slots._waiting:
            await asyncio.sleep(0)
        bench.slots.drain()
        return await step

    assert isinstance(bench.run(with_all_threads_busy()), GivenBack)
    assert bench.lanes.view(CONTROL).waiting == 1
