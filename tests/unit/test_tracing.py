"""The spans of a worker, with the SDK of OpenTelemetry and a scripted vendor."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from streamstop import Command, Outcome
from streamstop._redis.dead import DeadLetterStore
from streamstop._wire.messages import celery_message
from streamstop_worker.observing.tracing import Tracing
from streamstop_worker.pipeline.conclude import Handling
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.observer import Call, Observer, Observers
from tests.support.pipeline import STOP, Pipeline, fault
from tests.support.tracing import Spans, ids

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
COMMAND = Command(operation=STOP, account="live-cn")


@pytest.fixture
def spans(bench: Pipeline) -> Spans:
    return traced(bench, Spans())


def traced(bench: Pipeline, spans: Spans) -> Spans:
    """Let the pipeline make spans."""
    bench.executor = replace(bench.executor, observer=Tracing(spans.provider))
    return spans


def publish(bench: Pipeline, headers: Mapping[str, Any], job_id: str | None = None) -> Delivery:
    """Put a job with these headers into its lane, and take it."""
    lane = COMMAND.lane
    message = COMMAND.to_message(now=datetime.now(UTC))
    bench.push(lane, celery_message(job_id or lane.new_job_id(), lane, message, headers=headers))
    return bench.take_of(lane)


def test_a_delivery_is_a_span_of_the_producers_trace_and_its_call_is_inside(bench: Pipeline, spans: Spans) -> None:
    delivery = publish(bench, {"traceparent": TRACEPARENT})
    bench.execute(delivery)
    (process,), (call,) = spans.ended(SpanKind.CONSUMER), spans.ended(SpanKind.CLIENT)
    assert process.name == "process streamstop.lane.live-cn.rtc.StopMPUTask"
    assert process.parent is not None
    assert (ids(process)[0], process.parent.span_id) == (TRACE, SPAN)
    assert process.attributes == {
        "messaging.system": "streamstop",
        "messaging.destination.name": "streamstop.lane.live-cn.rtc.StopMPUTask",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": delivery.taken.job_id,
        "streamstop.account": "live-cn",
        "streamstop.operation": "rtc.StopMPUTask",
        "streamstop.attempt": 1,
        "streamstop.result": "stopped",
        "streamstop.request_id": "r",
    }
    assert process.status.status_code is StatusCode.UNSET
    (slot,) = process.events
    assert slot.name == "the job's slot has come"
    assert call.name == "StopMPUTask"
    assert call.parent is not None
    assert (ids(call)[0], call.parent.span_id) == ids(process)
    assert call.attributes == {
        "server.address": "rtc.aliyuncs.com",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "streamstop.account": "live-cn",
        "streamstop.operation": "rtc.StopMPUTask",
        "streamstop.request_id": "r",
    }
    moments = [process.start_time, slot.timestamp, call.start_time, call.end_time, process.end_time]
    assert moments == sorted(moments, key=lambda at: at or 0)


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ({"traceparent": TRACEPARENT}, TRACEPARENT.split("-")[1]),
        ({"tracelink": TRACEPARENT}, TRACEPARENT.split("-")[1]),
        ({"traceparent": "00-<script>-1-01"}, None),
        ({"traceparent": 7}, None),
        ({}, None),
    ],
)
def test_an_outcome_names_the_trace_in_which_its_job_was_enqueued(
    bench: Pipeline, headers: dict[str, Any], trace: str | None
) -> None:
    outcome = bench.execute(publish(bench, headers))
    assert isinstance(outcome, Outcome)
    assert outcome.trace_id == trace


def test_the_attempts_of_a_job_are_spans_of_one_trace(bench: Pipeline, spans: Spans) -> None:
    bench.answers = [fault("InternalError"), httpx.ConnectError("refused")]
    delivery = publish(bench, {"traceparent": TRACEPARENT})
    bench.execute(delivery)
    for _ in range(2):
        delivery = bench.again(delivery)
        bench.execute(delivery)
    processes = spans.ended(SpanKind.CONSUMER)
    seen = [process.attributes or {} for process in processes]
    assert [ids(process)[0] for process in processes] == [TRACE] * 3
    assert [one["streamstop.attempt"] for one in seen] == [1, 2, 3]
    assert [one["streamstop.result"] for one in seen] == ["deferred", "deferred", "stopped"]
    faulty, broken, well = spans.ended(SpanKind.CLIENT)
    assert faulty.attributes is not None
    assert broken.attributes is not None
    assert (faulty.attributes["http.response.status_code"], faulty.attributes["error.type"]) == (500, "InternalError")
    assert (faulty.attributes["streamstop.code"], faulty.attributes["streamstop.request_id"]) == ("InternalError", "r")
    assert "http.response.status_code" not in broken.attributes
    assert broken.attributes["error.type"] == "ConnectError"
    codes = [call.status.status_code for call in (faulty, broken, well)]
    assert codes == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]


def test_a_refused_job_is_an_error(bench: Pipeline, spans: Spans) -> None:
    bench.answers = [fault("Forbidden.RAM", 403)]
    bench.execute(publish(bench, {"traceparent": TRACEPARENT}))
    (process,) = spans.ended(SpanKind.CONSUMER)
    assert process.attributes is not None
    assert (process.attributes["streamstop.result"], process.attributes["error.type"]) == ("refused", "Forbidden.RAM")
    assert (process.status.status_code, process.status.description) == (StatusCode.ERROR, "m")


def test_a_requeued_job_has_a_trace_that_links_to_the_delivery_in_which_it_died(
    bench: Pipeline, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans.set_for_process(monkeypatch)
    bench.answers = [fault("Forbidden.RAM", 403)]
    job_id = requeued(bench, {"traceparent": TRACEPARENT, "headers": {"sentry-trace": "a-b-1", "other": "x"}})
    delivery = bench.take_of(COMMAND.lane)
    assert delivery.headers["headers"] == {"sentry-trace": "a-b-1"}
    bench.execute(delivery)
    died, again = spans.ended(SpanKind.CONSUMER)
    (link,) = again.links
    assert (link.context.trace_id, link.context.span_id) == ids(died)
    assert ids(died)[0] == TRACE
    assert ids(again)[0] == int(job_id.rpartition(".")[2], 16)


def test_a_requeued_job_links_to_its_producer_if_the_worker_is_not_traced(bench: Pipeline) -> None:
    bench.answers = [fault("Forbidden.RAM", 403)]
    requeued(bench, {"traceparent": TRACEPARENT})
    delivery = bench.take_of(COMMAND.lane)
    assert delivery.headers["tracelink"] == TRACEPARENT
    bench.execute(delivery)


@pytest.mark.parametrize("junk", [5, "\u00fc", "x" * 9_000, {"sentry-trace": "\u00fc", "baggage": 5}, [["x"]]])
def test_a_dead_letter_keeps_its_command_and_no_junk_of_a_foreign_message(bench: Pipeline, junk: object) -> None:
    bench.answers = [fault("Forbidden.RAM", 403)]
    requeued(bench, {"traceparent": junk, "tracelink": junk, "headers": junk})
    delivery = bench.take_of(COMMAND.lane)
    assert not {"traceparent", "tracelink", "headers"} & delivery.headers.keys()
    assert isinstance(bench.execute(delivery), Outcome)


def requeued(bench: Pipeline, headers: Mapping[str, Any]) -> str:
    """Let a job with these headers die, and requeue it; return the new job's id."""
    bench.execute(publish(bench, headers))
    dead = DeadLetterStore(bench.redis, bench.lanes)
    (letter,) = dead.letters()
    return dead.requeue(letter.id)


@pytest.mark.parametrize("flags", ["01", "00"])
def test_a_job_of_many_has_a_trace_of_its_own_that_links_to_the_sender(bench: Pipeline, flags: str) -> None:
    spans = traced(bench, Spans())
    bench.answers = [fault("InternalError")]
    delivery = publish(bench, {"tracelink": f"{TRACEPARENT[:-2]}{flags}"})
    bench.execute(delivery)
    bench.execute(bench.again(delivery))
    processes = spans.ended(SpanKind.CONSUMER)
    assert len(processes) == (2 if flags == "01" else 0), "sampled as the sender was"
    for process in processes:
        assert ids(process)[0] == int(delivery.taken.job_id.rpartition(".")[2], 16)
        (link,) = process.links
        assert (link.context.trace_id, link.context.span_id) == (TRACE, SPAN)
        assert process.parent is not None
        assert process.parent.span_id == 0, "exporters write no parent"


def test_a_job_without_a_trace_gets_one_of_its_own_with_the_sampling_of_the_worker(bench: Pipeline) -> None:
    for sampler, sampled in ((None, 2), (ParentBased(ALWAYS_OFF), 0), (TraceIdRatioBased(0), 0)):
        spans = traced(bench, Spans(sampler))
        bench.answers = [fault("InternalError")]
        delivery = publish(bench, {})
        bench.execute(delivery)
        bench.execute(bench.again(delivery))
        traces = [ids(process)[0] for process in spans.ended(SpanKind.CONSUMER)]
        assert traces == [int(delivery.taken.job_id.rpartition(".")[2], 16)] * sampled


def test_the_ids_of_jobs_are_random_where_samplers_look() -> None:
    sampler = TraceIdRatioBased(0.1)
    numbers = [int(COMMAND.lane.new_job_id().rpartition(".")[2], 16) for _ in range(5000)]
    decisions = [sampler.should_sample(None, number, "process").decision for number in numbers]
    assert 350 < decisions.count(Decision.RECORD_AND_SAMPLE) < 650


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": 5, "tracestate": ["x"], "tracelink": {}, "baggage": None},
        {"traceparent": "00-zz", "tracelink": "00-" + "0" * 32 + "-b7ad6b7169203331-01"},
        {"tracelink": "x" * 5000, "baggage": "=;,%"},
    ],
)
@pytest.mark.parametrize("job_id", ["by-hand", "live-cn.rtc.StopMPUTask." + "0" * 32, "live-cn.rtc.StopMPUTask.\u00fc"])
def test_any_headers_of_a_foreign_message_make_a_trace(
    bench: Pipeline, spans: Spans, headers: Mapping[str, Any], job_id: str
) -> None:
    end = bench.execute(publish(bench, headers, job_id))
    (process,) = spans.ended(SpanKind.CONSUMER)
    assert (process.attributes or {})["streamstop.result"] == "stopped", end
    assert ids(process)[0] != 0
    assert process.links == ()


def test_each_log_line_about_a_job_names_its_trace_and_span(bench: Pipeline, spans: Spans) -> None:
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _level: str, event: Any) -> Any:
        lines.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep], cache_logger_on_first_use=False)
    try:
        bench.answers = [fault("InternalError"), fault("Forbidden.RAM", 403)]
        delivery = publish(bench, {"traceparent": TRACEPARENT})
        bench.execute(delivery)
        bench.execute(bench.again(delivery))
    finally:
        structlog.reset_defaults()
    assert [line["event"] for line in lines] == ["deferred", "refused"]
    written = [(int(line["trace_id"], 16), int(line["span_id"], 16)) for line in lines]
    assert written == [ids(process) for process in spans.ended(SpanKind.CONSUMER)]


def test_no_secret_and_no_signature_is_in_a_span(bench: Pipeline, spans: Spans) -> None:
    bench.answers = [fault("SignatureDoesNotMatch", 400)]
    bench.execute(publish(bench, {"traceparent": TRACEPARENT}))
    everything = "".join(span.to_json() for kind in SpanKind for span in spans.ended(kind))
    assert "SignatureDoesNotMatch" in everything
    assert "hush" not in everything
    signature = bench.requests[0].headers.get("authorization", "") or str(bench.requests[0].url.query)
    assert signature
    assert signature.rpartition("=")[2] not in everything


def test_an_observer_that_fails_harms_no_job(bench: Pipeline) -> None:
    class Broken(Observer):
        def took(self, job: Handling) -> None:
            raise ValueError("a propagator of the service")

        def called(self, job: Handling, call: Call) -> None:
            raise ValueError("another fault")

    spans = Spans()
    bench.executor = replace(bench.executor, observer=Observers([Broken(), Tracing(spans.provider)]))
    with structlog.testing.capture_logs() as lines:
        bench.execute(publish(bench, {}))
    assert len(spans.ended(SpanKind.CONSUMER)) == 1
    failures = [line for line in lines if line["event"] == "a job could not be observed"]
    assert [line["observer"] for line in failures] == ["Broken"] * 2


def test_messages_that_carry_a_trace_stay_readable(bench: Pipeline) -> None:
    delivery = publish(bench, {"traceparent": TRACEPARENT, "headers": {"sentry-trace": "x"}})
    assert json.loads(delivery.taken.message)["headers"]["id"] == delivery.taken.job_id
    assert delivery.problem is None
    assert bench.execute(delivery) is not None
