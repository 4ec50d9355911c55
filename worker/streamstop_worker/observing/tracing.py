"""Tracing: an OpenTelemetry span for each delivery of a job, and one for each call of a vendor.

A job goes on with the trace that its message names. A job of a batch or of a shutdown has a trace of its own, with a
link to the span that sent it; so has a job whose producer is not traced. Such a trace has the id that ends the job's
id, so all deliveries of a job are in one trace, also if different workers handle them.
"""

import hashlib
import random
import re
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

import structlog
from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streamstop._tracing import LINK
from streamstop.operations import Meaning
from streamstop.outcomes import Deferral, Outcome
from streamstop_worker.pipeline.conclude import Handling
from streamstop_worker.pipeline.ends import End, StepDone
from streamstop_worker.pipeline.observer import Call, Observer

_NUMBER = re.compile("[0-9a-f]{32}")
#: The headers of a message whose producer is not traced.
_UNTRACED = frozenset(
    ("lang", "task", "shadow", "id", "root_id", "parent_id", "group", "retries", "argsrepr", "ignore_result")
)
_NONE = Context()
_W3C = TraceContextTextMapPropagator()
#: The span of the delivery that the running task handles.
_current: ContextVar[Span] = ContextVar("delivery_span", default=trace.INVALID_SPAN)


class Tracing(Observer):
    """The spans of one worker process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = trace.get_tracer("streamstop", version("streamstop"), provider)
        #: The SDK's sampler; None: the provider is not the SDK's, and samples as it likes.
        self._sampler: Any = getattr(provider, "sampler", None)

    def took(self, job: Handling) -> None:
        """Begin the span of a delivery at its take. Log lines about the job name the span from now on."""
        span, context = self._begin(job)
        _current.set(span)
        attach(trace.set_span_in_context(span, context))  # ends with the task that handles the delivery
        ids = span.get_span_context()
        structlog.contextvars.bind_contextvars(
            trace_id=trace.format_trace_id(ids.trace_id), span_id=trace.format_span_id(ids.span_id)
        )

    def called(self, job: Handling, call: Call) -> None:
        """Record a call of the vendor, and the end of the wait for its slot."""
        delivering = _current.get()
        if not delivering.is_recording():
            return
        delivery, answer, began_ns = job.delivery, call.answer, _wall_ns(call.began_at)
        waited = {"streamstop.wait_s": round(max(0.0, call.began_at - delivery.taken_at), 6)}
        delivering.add_event("the job's slot has come", waited, began_ns)
        attributes: dict[str, str | int | None] = {
            "server.address": call.host,
            "http.request.method": call.method,
            "http.response.status_code": call.status,
            "streamstop.account": delivery.taken.lane.account,
            "streamstop.operation": delivery.taken.lane.operation,
            "streamstop.code": answer.code,
            "streamstop.request_id": answer.request_id,
        }
        span = self._tracer.start_span(
            call.action, kind=SpanKind.CLIENT, attributes=_present(attributes), start_time=began_ns
        )
        if answer.meaning not in {None, Meaning.ALREADY_STOPPED}:
            span.set_attribute("error.type", answer.code or answer.meaning.value)
            span.set_status(StatusCode.ERROR, answer.message)
        span.end(_wall_ns(call.ended_at))

    def ended(self, job: Handling, end: End) -> None:  # noqa: ARG002  # the end says enough
        """End the span of a delivery."""
        span = _current.get()
        if not span.is_recording():
            return
        match end:
            case Outcome():
                facts = {"streamstop.code": end.code, "streamstop.request_id": end.request_id}
                span.set_attributes(_present({"streamstop.result": end.result.value, **facts}))
                if not end.ok:
                    span.set_attribute("error.type", end.code or end.result.value)
                    span.set_status(StatusCode.ERROR, end.message)
            case Deferral():
                span.set_attributes({"streamstop.result": "deferred", "streamstop.reason": end.reason})
            case StepDone(step):
                span.set_attribute("streamstop.result", step)
            case _:
                span.set_attribute("streamstop.result", "given back")
        span.end()

    def left(self, job: Handling) -> None:  # noqa: ARG002  # as in Observer
        """End the span of a delivery that is left to its lease."""
        span = _current.get()
        span.set_status(StatusCode.ERROR, "Redis cannot be reached: the job is taken again after its lease")
        span.end()

    def _begin(self, job: Handling) -> tuple[Span, Context]:
        """Return the span of a delivery, and the context of its parent."""
        taken, name = job.delivery.taken, f"process {job.delivery.taken.lane.queue}"
        context, linked = _sender(job.delivery.headers)
        if linked is None and (context is not _NONE or self._sampler is None):
            return self._start(job, name, context, []), context
        trace_id = _trace_id(taken.job_id)
        if linked is not None:
            is_sampled = linked.trace_flags.sampled
        else:
            is_sampled = self._sampler.should_sample(_NONE, trace_id, name, SpanKind.CONSUMER).decision.is_sampled()
        if not is_sampled:  # most are not: the SDK would ask the sampler once more
            return NonRecordingSpan(SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False)), _NONE
        context = _trace_of(trace_id)
        return self._start(job, name, context, [] if linked is None else [Link(linked)]), context

    def _start(self, job: Handling, name: str, context: Context, links: list[Link]) -> Span:
        delivery = job.delivery
        lane = delivery.taken.lane
        return self._tracer.start_span(
            name,
            context,
            SpanKind.CONSUMER,
            attributes={
                "messaging.system": "streamstop",
                "messaging.destination.name": lane.queue,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.message.id": delivery.taken.job_id,
                "streamstop.account": lane.account,
                "streamstop.operation": lane.operation,
                "streamstop.attempt": job.history.attempts + 1,
            },
            links=links,
            start_time=_wall_ns(delivery.taken_at),
        )


class _Beginning(SpanContext):
    """The parent of a trace's first spans, which gives them the trace's id. Its span id is 0: they have no parent."""

    @property
    def is_valid(self) -> bool:
        """Let the SDK take the trace's id and the sampling from here."""
        return True


def leave_celery_to_us() -> None:
    """Disconnect OpenTelemetry's instrumentation of Celery, whose spans would double ours."""
    instrumentation: Any = sys.modules.get("opentelemetry.instrumentation.celery")
    if instrumentation is not None and instrumentation.CeleryInstrumentor().is_instrumented_by_opentelemetry:
        instrumentation.CeleryInstrumentor().uninstrument()


def _sender(headers: Mapping[str, Any]) -> tuple[Context, SpanContext | None]:
    """Return the context with which a message goes on, or the span to which it links; an empty one and None if none."""
    if headers.keys() <= _UNTRACED:
        return _NONE, None
    texts = {name: value for name, value in headers.items() if isinstance(value, str)}
    if LINK in texts:
        linked = _span_of(_W3C.extract({"traceparent": texts[LINK]}, _NONE))
        if linked.is_valid:
            return _NONE, linked
    context = propagate.extract(texts, _NONE)
    return (context if _span_of(context).is_valid else _NONE), None


def _trace_of(trace_id: int) -> Context:
    """Return the context of a job's own trace, which is sampled."""
    beginning = _Beginning(trace_id, 0, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return trace.set_span_in_context(NonRecordingSpan(beginning), _NONE)


def _trace_id(job_id: str) -> int:
    """Return the number at the end of a job's id; a digest of any other id."""
    end = job_id.rpartition(".")[2]
    if _NUMBER.fullmatch(end) and (number := int(end, 16)):
        return number
    return int.from_bytes(hashlib.sha256(job_id.encode(errors="replace")).digest()[:16])


def _span_of(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def _wall_ns(moment: float) -> int:
    """Return a moment of the monotonic clock, in s, as ns since the epoch."""
    return time.time_ns() - int((time.monotonic() - moment) * 1e9)


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
