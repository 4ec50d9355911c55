"""Exporter: the facts of Redis as Prometheus metrics, from one target, so that sums over targets are right.

It needs the extra ``metrics``. Workers count their own calls and jobs, on ports of their own. The facts are read every
few seconds, and each scrape gets the last ones. So a scrape takes milliseconds with any number of lanes, and several
scrapers read Redis no more often than one.
"""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamstop._core.lane_view import LaneView
from streamstop.client import Client
from streamstop.errors import QueueUnavailable
from streamstop.outcomes import Result

#: How often the facts are read, in s.
EVERY_S = 5.0

_LANE = ("account", "operation")
#: Of each lane: name, HELP text, and value; None: the lane has no such value.
_LANE_METRICS: tuple[tuple[str, str, Callable[[LaneView], float | None]], ...] = (
    ("waiting", "Jobs that wait.", lambda lane: lane.waiting),
    ("in_flight", "Jobs that a worker has taken.", lambda lane: lane.in_flight),
    ("deferred", "Jobs that wait for another attempt.", lambda lane: lane.deferred),
    (
        "oldest_waiting_seconds",
        "Age of the oldest waiting job.",
        lambda lane: lane.oldest_waiting.total_seconds() if lane.oldest_waiting else 0.0,
    ),
    ("limit_calls_per_second", "Limit, as configured or as a person has set it.", lambda lane: lane.limit),
    ("pace_calls_per_second", "Calls per second at which the lane runs now.", lambda lane: lane.pace),
    ("resting", "1 while the lane makes no call after throttling or faults.", lambda lane: bool(lane.rest)),
    ("failing", "1 while the lane makes one call at a time after faults.", lambda lane: lane.failing),
    ("held", "1 while the vendor refuses the account's key.", lambda lane: lane.held is not None),
    ("paused", "1 while a person has paused the lane.", lambda lane: lane.paused is not None),
)


class Exporter(Collector):
    """Reads the metrics through a client. If Redis does not answer, ``streamstop_redis_up`` is 0."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def registry(self) -> CollectorRegistry:
        """A registry of these metrics alone."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry

    def text(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: Redis is not read before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        started_at = time.perf_counter()
        try:
            families = [*self._lanes(), *self._rest()]
            up = 1.0
        except QueueUnavailable:
            families, up = [], 0.0
        yield GaugeMetricFamily("streamstop_redis_up", "1 if Redis answers.", up)
        duration = time.perf_counter() - started_at
        yield GaugeMetricFamily("streamstop_exporter_read_seconds", "Time to read the facts from Redis.", duration)
        yield from families

    def _lanes(self) -> Iterator[Metric]:
        lanes = [lane for lane in self._client.lanes() if not lane.account.startswith("_")]
        for name, text, value_of in _LANE_METRICS:
            family = GaugeMetricFamily(f"streamstop_lane_{name}", text, labels=_LANE)
            for lane in lanes:
                value = value_of(lane)
                if value is not None:
                    family.add_metric((lane.account, lane.operation), value)
            yield family

    def _rest(self) -> Iterator[Metric]:
        client = self._client
        cancelled = CounterMetricFamily(
            "streamstop_jobs_cancelled", "Jobs that were cancelled before a worker took them.", labels=_LANE
        )
        for lane, count in client.count_cancelled().items():
            cancelled.add_metric((lane.account, lane.operation), count)
        yield cancelled
        letters = GaugeMetricFamily("streamstop_dead_letters", "Dead letters, by result.", labels=("result",))
        # Zeros too: an alert cannot compare the first letter with a sample that never was.
        none: dict[Result | None, int] = dict.fromkeys([*(each for each in Result if each.needs_person), None], 0)
        for result, count in (none | dict(client.dead_letters.count_by_result())).items():
            letters.add_metric(("unreadable" if result is None else result.value,), count)
        yield letters
        yield GaugeMetricFamily(
            "streamstop_shutdowns_open",
            "Shutdowns whose stream tasks have not all ended.",
            client.count_open_shutdowns(),
        )
        workers = GaugeMetricFamily(
            "streamstop_workers", "Workers with a sign of life, by version.", labels=("version",)
        )
        alive = Counter(worker.version for worker in client.workers() if worker.is_well)
        for version, number in alive.items():
            workers.add_metric((version,), number)
        yield workers
        yield from _redis_metrics(client.redis_info())


def _redis_metrics(info: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what INFO says. A Redis user that may not run it gets no such metrics."""
    for name, text, field in (
        ("memory_used_bytes", "Memory that Redis uses.", "used_memory"),
        ("memory_max_bytes", "Memory that Redis may use; 0: no limit.", "maxmemory"),
    ):
        if field in info:
            yield GaugeMetricFamily(f"streamstop_redis_{name}", text, info[field])
    if "evicted_keys" in info:
        text = "Keys that Redis deleted for want of memory."
        yield CounterMetricFamily("streamstop_redis_evicted_keys", text, info["evicted_keys"])


@contextmanager
def serving(exporter: Exporter, host: str, port: int, every_s: float = EVERY_S) -> Iterator[int]:
    """Serve the metrics over HTTP until the block ends; yield the port. Port 0 selects a free one.

    Raises :class:`OSError` if the port cannot be bound. After a bug in a read, which standard error has, a scrape gets
    no metric until a read succeeds: an old value would hide what happens.
    """
    over = threading.Event()
    text = exporter.text().encode()

    def read() -> None:
        nonlocal text
        while not over.wait(every_s):
            try:
                text = exporter.text().encode()
            except Exception:  # noqa: BLE001 - whatever it is, the next read may succeed
                text = b""
                traceback.print_exc()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] in {"/", "/metrics"}
            body = text if found else b"not found: the metrics are at /metrics\n"
            self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if found else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: a line for each scrape tells nobody anything."""

    with ThreadingHTTPServer((host, port), Handler) as server:
        threads = [threading.Thread(target=target, daemon=True) for target in (read, server.serve_forever)]
        for thread in threads:
            thread.start()
        try:
            yield server.server_address[1]
        finally:
            over.set()
            server.shutdown()
            for thread in threads:
                thread.join()
