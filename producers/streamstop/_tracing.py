"""Tracing: spans of what a producer sends, and the message headers by which workers go on with its traces.

A process that has set up neither OpenTelemetry nor Sentry imports nothing here, and its messages are no longer.
Celery's signals are not sent, although instrumentations listen to them: they would make a second span, and one for each
job of a batch.

``traceparent`` (and ``tracestate``, ``baggage``) of a message: the job is part of the trace. ``tracelink``, in the same
format: the job is one of many, and has a trace of its own, which links to that span.
"""

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: The header of a message that names the span to link to.
LINK = "tracelink"
#: The headers of a message that Sentry writes and reads, as those of Celery's integration.
INNER = "headers"

#: A `traceparent`. The group is the id of the trace.
_TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

Headers = Mapping[str, Any]

#: The headers of Sentry by which a trace is continued, and the longest that is kept of each.
_SENTRY_HEADERS, _MOST_KEPT = ("sentry-trace", "baggage"), 8192


@dataclass(frozen=True)
class Sending:
    """The trace of what is being sent."""

    #: Whether the process has set up OpenTelemetry, and the headers of Sentry.
    opentelemetry: bool = False
    sentry: Headers = field(default_factory=dict)

    @cached_property
    def headers(self) -> Headers:
        """The headers of a message that goes on with the trace."""
        return {**self._inject(), **self.sentry}

    @cached_property
    def links(self) -> Headers:
        """The headers of one of many messages: the trace of each links to this one."""
        from_traceparent = self._inject().get("traceparent")
        return {**({LINK: from_traceparent} if from_traceparent else {}), **self.sentry}

    def _inject(self) -> dict[str, Any]:
        carrier: dict[str, Any] = {}
        if self.opentelemetry:
            from opentelemetry import propagate

            propagate.inject(carrier)
        return carrier


_UNTRACED = Sending()


@contextmanager
def sending(destinations: Sequence[str], message_id: str | None = None) -> Iterator[Sending]:
    """Run a producer's span around what the block sends: a message to each of `destinations`."""
    provider, sentry_sdk = tracer_provider(), _active_sentry()
    if provider is None and sentry_sdk is None:
        yield _UNTRACED
        return
    first = destinations[0]
    destination = first if destinations.count(first) == len(destinations) else "streamstop.lanes"
    attributes: dict[str, Any] = {
        "messaging.system": "streamstop",
        "messaging.destination.name": destination,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    if message_id is not None:
        attributes["messaging.message.id"] = message_id
    if len(destinations) > 1:
        attributes["messaging.batch.message_count"] = len(destinations)
    with ExitStack() as spans:
        if provider is not None:
            from opentelemetry import trace

            tracer = provider.get_tracer("streamstop")
            spans.enter_context(
                tracer.start_as_current_span(f"send {destination}", kind=trace.SpanKind.PRODUCER, attributes=attributes)
            )
        sentry: Headers = {}
        if sentry_sdk is not None:
            span = spans.enter_context(sentry_sdk.start_span(op="queue.publish", name=destination))
            for name, value in attributes.items():
                span.set_data(name, value)
            sentry = {INNER: {**_sentry_headers(sentry_sdk), "sentry-task-enqueued-time": f"{time.time():.9f}"}}
        yield Sending(provider is not None, sentry)


def current() -> Headers:
    """Return the headers of a message or a request that goes on with the current span's trace."""
    return Sending(tracer_provider() is not None).headers


def passed_on(headers: Headers) -> Headers:
    """Return the headers of a job for the job that follows it in its shutdown."""
    return {name: headers[name] for name in (LINK, INNER) if name in headers}


def kept(headers: Headers) -> Headers:
    """Return the headers that a dead letter keeps for the job as which it is requeued.

    That job has a trace of its own, for it can begin days later. The trace links to the delivery in which the dead job
    ended if the worker is traced, otherwise to what the job's own message names. The headers of a message can be
    anything, so only what has the right format is kept.
    """
    link = Sending(tracer_provider() is not None).links.get(LINK) or headers.get(LINK) or headers.get("traceparent")
    inner = headers.get(INNER)
    sentry = {name: inner.get(name) for name in _SENTRY_HEADERS} if isinstance(inner, Mapping) else {}
    sentry = {name: value for name, value in sentry.items() if _is_short_text(value)}
    found: dict[str, Any] = {}
    if isinstance(link, str) and _TRACEPARENT.fullmatch(link):
        found[LINK] = link
    if sentry:
        found[INNER] = sentry
    return found


def linked_trace_id(headers: Headers) -> str | None:
    """Return the id of the trace that headers link to; None if they link to none."""
    parts = str(headers.get(LINK, "")).split("-")
    return parts[1] if len(parts) > 1 else None


def trace_id(headers: Headers) -> str | None:
    """Return the id of the trace that headers go on with, or link to; None if there is none."""
    for name in ("traceparent", LINK):
        if (found := _TRACEPARENT.match(str(headers.get(name, "")))) is not None:
            return found[1]
    return None


def tracer_provider() -> Any:
    """Return OpenTelemetry's provider of spans that was set in this process; None if none was."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.NoOpTracerProvider | trace.ProxyTracerProvider) else provider


def _active_sentry() -> Any:
    """Return the module of Sentry if it was initialised in this process; None if it was not."""
    sentry_sdk: Any = sys.modules.get("sentry_sdk")
    return sentry_sdk if sentry_sdk is not None and sentry_sdk.get_client().is_active() else None


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and len(value) <= _MOST_KEPT


def _sentry_headers(sentry_sdk: Any) -> dict[str, str]:
    found = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
    return {name: value for name, value in found.items() if value}
