"""Spans that the SDK of OpenTelemetry keeps in memory."""

from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler


class Spans:
    """The ended spans of a process, and the provider that keeps them."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def ended(self, kind: trace.SpanKind) -> Sequence[ReadableSpan]:
        """The ended spans of a kind, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.kind is kind]

    def set_for_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the provider the process' own until the test ends. OpenTelemetry's own setter works once."""
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: self.provider)


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the ids of a span's trace and of the span."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def traceparent(span: ReadableSpan) -> str:
    """Return the header that names a sampled span."""
    trace_id, span_id = ids(span)
    context = span.get_span_context()
    assert context is not None
    return f"00-{trace_id:032x}-{span_id:016x}-{context.trace_flags:02x}"
