"""When a worker is traced, and what becomes of other instrumentations in it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.trace import SpanKind

from streamstop import Command
from streamstop._wire.messages import celery_message
from streamstop_worker.observing import observe
from streamstop_worker.observing.tracing import leave_celery_to_us
from streamstop_worker.pipeline.observer import Observer
from streamstop_worker.settings import WorkerSettings
from tests.support.pipeline import STOP, Pipeline
from tests.support.tracing import Spans

COMMAND = Command(operation=STOP, account="live-cn")


def test_a_worker_traces_where_a_provider_was_set_and_not_otherwise(
    bench: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings.from_environ({})
    assert type(observe(settings, bench.slots)) is Observer
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    assert type(observe(settings, bench.slots)) is Observer
    spans = Spans()
    spans.set_for_process(monkeypatch)
    bench.executor = replace(bench.executor, observer=observe(settings, bench.slots))
    lane = COMMAND.lane
    bench.push(lane, celery_message(lane.new_job_id(), lane, COMMAND.to_message(now=datetime.now(UTC))))
    bench.execute(bench.take_of(lane))
    assert len(spans.ended(SpanKind.CONSUMER)) == 1


def test_the_instrumentation_of_celery_is_disconnected_in_a_worker() -> None:
    make: Any = CeleryInstrumentor  # it has no types
    instrumentor = make()
    instrumentor.instrument(tracer_provider=Spans().provider)
    assert instrumentor.is_instrumented_by_opentelemetry
    leave_celery_to_us()
    assert not instrumentor.is_instrumented_by_opentelemetry
    leave_celery_to_us()  # a second time changes nothing
