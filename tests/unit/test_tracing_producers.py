"""The spans of a producer, and the headers of its messages."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from redis import Redis

from streamstop import AsyncClient, Client, Command
from streamstop._core.lane import Lane
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import CALLBACKS, CONTROL, Rooms
from streamstop._tracing import sending
from streamstop._wire.messages import celery_message
from streamstop.operations import RtcStopMPUTask
from streamstop_worker.shutdowns.fan_out import Shutdowns
from tests.support.pipeline import Pipeline
from tests.support.tracing import Spans, traceparent

STOP = RtcStopMPUTask(app_id="a", task_id="t")
OTHER = RtcStopMPUTask(app_id="b", task_id="t")
COMMANDS = [Command(operation=STOP, account="live-cn"), Command(operation=OTHER, account="live-cn")]
LANE = COMMANDS[0].lane
MESSAGE = (
    '{"body":"[[{\\"v\\":1}],{},{\\"callbacks\\":null,\\"errbacks\\":null,\\"chain\\":null,\\"chord\\":null}]",'
    '"content-encoding":"utf-8","content-type":"application/json","headers":{"lang":"py","task":"streamstop.execute",'
    '"shadow":"live-cn.rtc.StopMPUTask","id":"an-id","root_id":"an-id","parent_id":null,"group":null,"retries":0,'
    '"argsrepr":"(\'live-cn\',)","ignore_result":true},"properties":{"correlation_id":"an-id","reply_to":"",'
    '"delivery_mode":2,"delivery_info":{"exchange":"","routing_key":"streamstop.lane.live-cn.rtc.StopMPUTask"},'
    '"priority":0,"body_encoding":null,"delivery_tag":"an-id"}}'
)
UNTRACED = """
import sys
sys.modules["opentelemetry"] = None  # redis-py imports it where it is installed
from streamstop._tracing import sending
with sending(["lane"], "id") as traced:
    assert (traced.headers, traced.links) == ({}, {})
sys.exit(str({"opentelemetry.trace", "sentry_sdk", "celery"} & set(sys.modules)))
"""


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    made = Spans()
    made.set_for_process(monkeypatch)
    return made


@pytest.fixture
def client(bench: Pipeline) -> Iterator[Client]:
    """Return a client of the pipeline's Redis."""
    with Client("redis://unused") as made:
        use(made, bench.redis)
        yield made


def use(client: Client, redis: Redis) -> None:
    opened = client._backend.connections._opened()  # type: ignore[attr-defined]
    lanes = Lanes(redis)
    for part in (opened.publisher, opened.known_accounts):
        part._redis = redis
    connections: Any = client._backend.connections  # type: ignore[attr-defined]
    connections._open = replace(opened, redis=redis, lanes=lanes, rooms=Rooms(redis, lanes))


def headers_in(redis: Redis, lane: Lane = LANE) -> list[dict[str, Any]]:
    """Return the headers of the messages that wait in a lane's lists."""
    entries: Any = [entry for name in lane.waiting for entry in redis.lrange(name, 0, -1)]
    return [json.loads(entry)["headers"] for entry in entries]


def test_a_message_without_a_trace_is_what_it_was() -> None:
    assert celery_message("an-id", LANE, {"v": 1}) == MESSAGE


def test_a_process_without_instrumentation_imports_none_and_adds_no_header() -> None:
    ran = subprocess.run([sys.executable, "-c", UNTRACED], check=False, capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == "set()", ran.stderr


def test_without_a_provider_a_message_is_no_longer() -> None:
    with sending(["streamstop.lane.x"], "id") as traced:
        assert (traced.headers, traced.links) == ({}, {})


def test_one_job_goes_on_with_the_trace_of_the_service(bench: Pipeline, client: Client, spans: Spans) -> None:
    with trace.get_tracer("service").start_as_current_span("POST /rooms") as request:
        job = client.enqueue(STOP, account="live-cn")
    (send,) = spans.ended(SpanKind.PRODUCER)
    assert send.name == "send streamstop.lane.live-cn.rtc.StopMPUTask"
    assert send.parent == request.get_span_context()
    assert send.attributes == {
        "messaging.system": "streamstop",
        "messaging.destination.name": "streamstop.lane.live-cn.rtc.StopMPUTask",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.message.id": job.id,
    }
    (headers,) = headers_in(bench.redis)
    assert headers["traceparent"] == traceparent(send)
    assert "tracelink" not in headers
    without = json.loads(celery_message(job.id, LANE, {}))["headers"]
    assert {name: headers[name] for name in without} == without


def test_the_jobs_of_a_batch_link_to_one_span(bench: Pipeline, client: Client, spans: Spans) -> None:
    jobs = client.enqueue_many([*COMMANDS, Command(operation=STOP, account="live-eu")])
    (send,) = spans.ended(SpanKind.PRODUCER)
    assert send.name == "send streamstop.lanes"
    assert (send.attributes or {})["messaging.batch.message_count"] == 3
    headers = headers_in(bench.redis) + headers_in(bench.redis, Lane("live-eu", LANE.operation))
    assert {one["id"] for one in headers} == {job.id for job in jobs}
    assert {one["tracelink"] for one in headers} == {traceparent(send)}
    assert not any("traceparent" in one for one in headers)


def test_a_unique_job_is_traced_too(bench: Pipeline, client: Client, spans: Spans) -> None:
    client.enqueue(STOP, account="live-cn", unique=True)
    (send,) = spans.ended(SpanKind.PRODUCER)
    assert [one["traceparent"] for one in headers_in(bench.redis)] == [traceparent(send)]


def test_an_async_client_has_the_trace_of_its_caller(bench: Pipeline, spans: Spans) -> None:
    async def run() -> None:
        async with AsyncClient("redis://unused") as client:
            use(client.client, bench.redis)
            with trace.get_tracer("service").start_as_current_span("request") as request:
                await client.enqueue(STOP, account="live-cn")
            (send,) = spans.ended(SpanKind.PRODUCER)
            assert send.parent == request.get_span_context()

    asyncio.run(run())


def test_an_error_of_the_queue_is_in_the_span(spans: Spans) -> None:
    with pytest.raises(ValueError, match="broken"), sending(["streamstop.lane.x"], "id"):
        raise ValueError("broken")
    (send,) = spans.ended(SpanKind.PRODUCER)
    assert not send.status.is_ok


def test_the_jobs_of_a_shutdown_link_to_the_span_that_opened_it(bench: Pipeline, spans: Spans) -> None:
    lanes, now = Lanes(bench.redis), datetime.now(UTC)
    rooms = Rooms(bench.redis, lanes)
    rooms.register("r", COMMANDS[:1], now=now)
    with sending(["streamstop.shutdown"]) as traced:
        callback = {"url": "https://example.com/"}
        shutdown = rooms.open("r", COMMANDS[1:], now=now, verify=False, callback=callback, traced=traced)
    (send,) = spans.ended(SpanKind.PRODUCER)
    assert [one["traceparent"] for one in headers_in(bench.redis, CONTROL)] == [traceparent(send)], "the fan-out"
    for _ in Shutdowns(rooms, lanes).fan_out(shutdown):
        pass
    headers = headers_in(bench.redis)
    assert [one["tracelink"] for one in headers] == [traceparent(send)] * 2
    message = json.loads(rooms.shutdowns.facts(shutdown)["callback"])
    assert message["headers"]["traceparent"] == traceparent(send)
    assert headers_in(bench.redis, CALLBACKS) == []


def test_a_shutdown_without_a_trace_stores_none(bench: Pipeline) -> None:
    lanes, now = Lanes(bench.redis), datetime.now(UTC)
    rooms = Rooms(bench.redis, lanes)
    shutdown = rooms.open("r", COMMANDS, now=now, verify=False, callback=None)
    assert "trace" not in rooms.shutdowns.facts(shutdown)
    for _ in Shutdowns(rooms, lanes).fan_out(shutdown):
        pass
    assert [set(one) & {"traceparent", "tracelink", "headers"} for one in headers_in(bench.redis)] == [set(), set()]
