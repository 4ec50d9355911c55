"""Sentry: reports what a person should look at, and makes a transaction of each delivery of a job.

A report is made of a log line: the lines say what happened, to which account and operation, with the vendor's code.
"""

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.tracing import Span

from streamstop._tracing import INNER
from streamstop.operations import Meaning
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.pipeline.conclude import Handling
from streamstop_worker.pipeline.ends import End, StepDone
from streamstop_worker.pipeline.observer import Call, Observer

#: Lines that are reported although they are warnings. Every error is reported.
_REPORTED = {Result.REFUSED.value, Result.GAVE_UP.value, "the lane is failing and rests"}
#: Lines that agree in these fields are one issue.
_SAME = ("event", "account", "operation", "code", "lane", "bug")
#: How long a worker does not report the same again, in s.
_QUIET_S = 3600
_MOST_KEPT = 10_000

#: The transaction of the delivery that the running task handles, and what ends it.
_current: ContextVar[tuple[Span, ExitStack] | None] = ContextVar("transaction", default=None)


class Reports:
    """Reports the log lines of one worker process, the same at most once an hour."""

    def __init__(self) -> None:
        self._reported_at: dict[tuple[object, ...], float] = {}
        ignore_logger("streamstop*")  # Sentry's integration of logging would report each error line, every time

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Report a log line, unless it is a warning that needs nobody."""
        event = str(line["event"])
        if line["level"] == "warning" and event not in _REPORTED:
            return
        same = tuple(str(line[name]) if name in line else "" for name in _SAME)
        now = time.monotonic()
        if now - self._reported_at.get(same, -_QUIET_S) < _QUIET_S:
            return
        if len(self._reported_at) >= _MOST_KEPT:
            self._reported_at.clear()
        self._reported_at[same] = now
        error = line.get("exc_info")
        fields = {name: value for name, value in line.items() if name not in {"exc_info", "level", "logger"}}
        with sentry_sdk.new_scope() as scope:
            scope.fingerprint = ["streamstop", *same]
            scope.set_context("streamstop", fields)
            for name in ("account", "operation", "code"):
                if name in line:
                    scope.set_tag(f"streamstop.{name}", str(line[name]))
            if isinstance(error, BaseException) or (error and sys.exc_info()[1] is not None):
                sentry_sdk.capture_exception(error if isinstance(error, BaseException) else None)
            else:
                sentry_sdk.capture_message(" ".join(filter(None, same[:5])), level="error")


class Transactions(Observer):
    """The transactions of one worker process. A job's goes on with the trace of its producer."""

    def took(self, job: Handling) -> None:
        """Begin the transaction of a delivery."""
        delivery = job.delivery
        lane, headers = delivery.taken.lane, delivery.headers.get(INNER)
        items = headers.items() if isinstance(headers, Mapping) else ()
        texts = {name: value for name, value in items if isinstance(value, str)}
        stack = ExitStack()
        stack.enter_context(sentry_sdk.isolation_scope())
        transaction = stack.enter_context(
            sentry_sdk.start_transaction(
                sentry_sdk.continue_trace(texts, op="queue.process", name=f"process {lane.queue}", source="task")
            )
        )
        data: dict[str, Any] = {
            "messaging.system": "streamstop",
            "messaging.destination.name": lane.queue,
            "messaging.message.id": delivery.taken.job_id,
            "messaging.message.retry.count": job.history.attempts,
            "streamstop.account": lane.account,
            "streamstop.operation": lane.operation,
        }
        if (enqueued_at := _number(texts.get("sentry-task-enqueued-time"))) is not None:
            data["messaging.message.receive.latency"] = max(0.0, time.time() - enqueued_at) * 1000
        for name, value in data.items():
            transaction.set_data(name, value)
        _current.set((transaction, stack))

    def called(self, job: Handling, call: Call) -> None:  # noqa: ARG002  # the call says enough
        """Add the span of a call of the vendor."""
        if (current := _current.get()) is None:
            return
        now, at = time.time(), time.monotonic()
        span = current[0].start_child(op="http.client", name=call.action, start_timestamp=now - (at - call.began_at))
        answer = call.answer
        data = {"server.address": call.host, "http.request.method": call.method, "streamstop.code": answer.code}
        for name, value in {**data, "streamstop.request_id": answer.request_id}.items():
            if value is not None:
                span.set_data(name, value)
        if call.status is not None:
            span.set_data("http.response.status_code", call.status)
        span.set_status("ok" if answer.meaning in {None, Meaning.ALREADY_STOPPED} else "internal_error")
        span.finish(end_timestamp=now - (at - call.ended_at))

    def ended(self, job: Handling, end: End) -> None:  # noqa: ARG002  # the end says enough
        """End the transaction of a delivery."""
        match end:
            case Outcome():
                status = "ok" if end.ok else "internal_error"
                _finish("cancelled" if end.result is Result.CANCELLED else status, end.result.value)
            case StepDone(step):
                _finish("ok", step)
            case Deferral():
                _finish("aborted", "deferred")
            case _:
                _finish("aborted", "given back")

    def left(self, job: Handling) -> None:  # noqa: ARG002  # as in Observer
        """End the transaction of a delivery that is left to its lease."""
        _finish("unavailable", "left to its lease")


def _finish(status: str, result: str) -> None:
    if (current := _current.get()) is None:
        return
    transaction, stack = current
    _current.set(None)
    transaction.set_status(status)
    transaction.set_data("streamstop.result", result)
    stack.close()


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
