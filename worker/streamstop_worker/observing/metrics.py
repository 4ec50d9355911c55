"""Metrics: counts a worker's calls and ends of jobs for Prometheus, and serves them on a port of the worker's own.

Facts of Redis, such as the length of lanes, are not here: every worker would repeat them. ``streamstop metrics`` serves
them from one target.
"""

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from streamstop.operations import Meaning
from streamstop.outcomes import Outcome
from streamstop_worker.pipeline.conclude import Handling
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.observer import Call, Observer

#: Of calls, in s: up to the longest STREAMSTOP_CALL_TIMEOUT.
_CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
#: Of jobs, in s: from an idle lane to a backlog of half an hour.
_JOB_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: Of the delay of a call after its slot, in s. A job that is later than 50 ms is not called.
_DELAY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

_LANE = ("account", "operation")


class Metrics(Observer):
    """The metrics of one worker process."""

    def __init__(self, slots: int, busy: Callable[[], int]) -> None:
        """`slots` is how many jobs may be under way at once; `busy` returns how many are."""
        self.registry = registry = CollectorRegistry()
        self._calls = Counter(
            "streamstop_calls", "Calls that were sent to vendors.", (*_LANE, "answer"), registry=registry
        )
        self._call_duration = Histogram(
            "streamstop_call_duration_seconds",
            "Time from the begin of a call to the vendor's whole answer, or to the fault.",
            (*_LANE, "answer"),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._ended = Counter(
            "streamstop_jobs_ended", "Jobs that this worker ended, by result.", (*_LANE, "result"), registry=registry
        )
        self._wait = Histogram(
            "streamstop_job_wait_seconds",
            "Time from the enqueueing of a job to its first call.",
            ("operation",),
            buckets=_JOB_BUCKETS,
            registry=registry,
        )
        self._duration = Histogram(
            "streamstop_job_duration_seconds",
            "Time from the enqueueing of a job to its outcome.",
            ("operation",),
            buckets=_JOB_BUCKETS,
            registry=registry,
        )
        self._delay = Histogram(
            "streamstop_send_delay_seconds",
            "Time from the slot of a call to the last byte written.",
            buckets=_DELAY_BUCKETS,
            registry=registry,
        )
        gauges = (
            ("slots", "Jobs that may be under way at once.", lambda: slots),
            ("slots_busy", "Jobs under way.", busy),
        )
        for name, text, value in gauges:
            Gauge(f"streamstop_worker_{name}", text, registry=registry).set_function(value)
        # To look up a metric by its labels takes longer than to count.
        self._by_answer: dict[tuple[str, str, Meaning | None], tuple[Counter, Histogram]] = {}
        self._by_result: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    def serve(self, host: str, port: int) -> None:
        """Serve the metrics over HTTP from a thread. Raises :class:`OSError` if the port cannot be bound."""
        start_http_server(port, host, self.registry)

    def called(self, job: Handling, call: Call) -> None:
        """Count a call and its answer."""
        lane, answer = job.delivery.taken.lane, call.answer
        key = (lane.account, lane.operation, answer.meaning)
        found = self._by_answer.get(key)
        if found is None:
            labels = (*key[:2], answer.meaning.value if answer.meaning is not None else "ok")
            found = self._by_answer[key] = (self._calls.labels(*labels), self._call_duration.labels(*labels))
        calls, duration = found
        duration.observe(call.ended_at - call.began_at)
        if not call.sent:
            return
        calls.inc()
        self._delay.observe(job.send_delay.late.total_seconds())
        if job.delivery.taken.history.calls == 0 and job.command is not None:
            began_at = job.delivery.now().timestamp() - (call.ended_at - call.began_at)
            _observe_since(self._wait.labels(lane.operation), job.command.enqueued_at, began_at)

    def ended(self, job: Handling, end: End) -> None:  # noqa: ARG002  # the end says enough
        """Count the end of a job."""
        if not isinstance(end, Outcome):
            return
        key = (end.account, end.operation, end.result.value)
        found = self._by_result.get(key)
        if found is None:
            found = self._by_result[key] = (self._ended.labels(*key), self._duration.labels(end.operation))
        count, duration = found
        count.inc()
        if end.ended_at is not None:
            _observe_since(duration, end.enqueued_at, end.ended_at.timestamp())


def _observe_since(histogram: Histogram, enqueued_at: datetime | None, at: float) -> None:
    if enqueued_at is not None:
        histogram.observe(max(0.0, at - enqueued_at.timestamp()))
