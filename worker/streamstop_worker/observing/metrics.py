"""Metrics: counts a worker's calls and ends of jobs for Prometheus, and serves them on a port of the worker's own.

Facts of Redis, such as the length of lanes, are not here: every worker would repeat them. ``streamstop metrics`` serves
them from one target.

The counting is our own, in the event loop's thread alone. That of prometheus_client takes a lock and walks the buckets
for each value, and four times as long.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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


class Histogram:
    """Counts values by bucket."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the greatest values of the buckets but the last, which has none."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the counts to what is exported."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)


class _Answers:
    """The calls of a lane with one answer."""

    __slots__ = ("durations", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.durations = Histogram(_CALL_BUCKETS)


class Metrics(Observer, Collector):
    """The metrics of one worker process."""

    def __init__(self, slots: int, busy: Callable[[], int]) -> None:
        """`slots` is how many jobs may be under way at once; `busy` returns how many are."""
        self._slots, self._busy = slots, busy
        self._answers: dict[tuple[str, str, Meaning | None], _Answers] = {}
        self._ended: dict[tuple[str, str, str], int] = {}
        self._waits: dict[str, Histogram] = {}
        self._durations: dict[str, Histogram] = {}
        self._delays = Histogram(_DELAY_BUCKETS)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def serve(self, host: str, port: int) -> None:
        """Serve the metrics over HTTP from a thread. Raises :class:`OSError` if the port cannot be bound."""
        start_http_server(port, host, self.registry)

    def called(self, job: Handling, call: Call) -> None:
        """Count a call and its answer."""
        delivery = job.delivery
        lane = delivery.taken.lane
        key = (lane.account, lane.operation, call.answer.meaning)
        answers = self._answers.get(key)
        if answers is None:
            answers = self._answers[key] = _Answers()
        answers.durations.observe(call.ended_at - call.began_at)
        if not call.sent:
            return
        answers.sent += 1
        self._delays.observe(job.send_delay.late.total_seconds())
        if delivery.taken.history.calls == 0 and job.command is not None:
            began_at = delivery.at.timestamp() + call.began_at - delivery.taken_at
            _observe_since(self._waits, lane.operation, job.command.enqueued_at, began_at)

    def ended(self, job: Handling, end: End) -> None:  # noqa: ARG002  # the end says enough
        """Count the end of a job."""
        if not isinstance(end, Outcome):
            return
        key = (end.account, end.operation, end.result.value)
        self._ended[key] = self._ended.get(key, 0) + 1
        if end.ended_at is not None:
            _observe_since(self._durations, end.operation, end.enqueued_at, end.ended_at.timestamp())

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted. A thread of the HTTP server runs this."""
        answers = [(_labels(key), found) for key, found in list(self._answers.items())]
        labels = (*_LANE, "answer")
        calls = CounterMetricFamily("streamstop_calls", "Calls that were sent to vendors.", labels=labels)
        for values, found in answers:
            calls.add_metric(values, found.sent)
        yield calls
        yield _histograms(
            "streamstop_call_duration_seconds",
            "Time from the begin of a call to the vendor's whole answer, or to the fault.",
            labels,
            [(values, found.durations) for values, found in answers],
        )
        ended = CounterMetricFamily(
            "streamstop_jobs_ended", "Jobs that this worker ended, by result.", labels=(*_LANE, "result")
        )
        for key, count in list(self._ended.items()):
            ended.add_metric(key, count)
        yield ended
        for name, text, of_operation in (
            ("wait", "Time from the enqueueing of a job to its first call.", self._waits),
            ("duration", "Time from the enqueueing of a job to its outcome.", self._durations),
        ):
            yield _histograms(f"streamstop_job_{name}_seconds", text, ("operation",), _by_operation(of_operation))
        yield _histograms(
            "streamstop_send_delay_seconds",
            "Time from the slot of a call to the last byte written.",
            (),
            [((), self._delays)],
        )
        yield GaugeMetricFamily("streamstop_worker_slots", "Jobs that may be under way at once.", self._slots)
        yield GaugeMetricFamily("streamstop_worker_slots_busy", "Jobs under way.", self._busy())


def _observe_since(of: dict[str, Histogram], operation: str, enqueued_at: datetime | None, at: float) -> None:
    if enqueued_at is None:
        return
    histogram = of.get(operation)
    if histogram is None:
        histogram = of[operation] = Histogram(_JOB_BUCKETS)
    histogram.observe(max(0.0, at - enqueued_at.timestamp()))


def _labels(key: tuple[str, str, Meaning | None]) -> tuple[str, str, str]:
    account, operation, meaning = key
    return account, operation, "ok" if meaning is None else meaning.value


def _by_operation(of: Mapping[str, Histogram]) -> list[tuple[Sequence[str], Histogram]]:
    return [((operation,), histogram) for operation, histogram in list(of.items())]


def _histograms(
    name: str, text: str, labels: Sequence[str], counted: Iterable[tuple[Sequence[str], Histogram]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in counted:
        histogram.add_to(family, values)
    return family
