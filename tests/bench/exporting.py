"""Exporting: what ``streamstop metrics`` needs to read many lanes, and to answer a scrape."""

import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from streamstop import Client, Command
from streamstop.exporter import Exporter, serving
from streamstop.operations import find
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench.producing import OPERATIONS
from tests.bench.results import Section, Target

_READS, _SCRAPES = 10, 50
#: How many jobs one call enqueues, so that they are in their lanes when it returns.
_AT_ONCE = 500
_GOAL_S = 0.1


@dataclass(frozen=True)
class Figures:
    """What was measured, in seconds at the median."""

    lanes: int
    #: To read the facts from Redis and to make them text: the time, and the exporter's CPU.
    read_s: float
    read_cpu_s: float
    #: To answer a scrape.
    scrape_s: float


def measure(lanes: Sequence[int]) -> Section:
    """Measure with each number of lanes, three jobs in each."""
    runs = [_run(number) for number in lanes]
    return Section(
        name="exporting",
        text=(
            "`streamstop metrics` with three jobs in each lane. It reads Redis every five seconds, and answers a scrape"
            f" with what it read last. Medians of {_READS} reads and {_SCRAPES} scrapes."
        ),
        header=["", "read (ms)", "CPU of a read (ms)", "scrape (ms)"],
        rows=[
            [
                f"{run.lanes:,} lanes",
                *(f"{s * 1000:.0f}" for s in (run.read_s, run.read_cpu_s)),
                f"{run.scrape_s * 1000:.1f}",
            ]
            for run in runs
        ],
        targets=[
            Target(
                f"a scrape of {run.lanes:,} lanes takes at most {_GOAL_S * 1000:.0f} ms",
                run.scrape_s <= _GOAL_S,
                f"{run.scrape_s * 1000:.1f} ms",
            )
            for run in runs
        ],
        figures=[asdict(run) for run in runs],
    )


def _run(lanes: int) -> Figures:
    with redis_server() as server, Client(server.url) as client:
        commands = [
            Command(operation=find(operation)(app_id="bench", task_id=f"t-{job}"), account=f"a{account}")
            for job in range(3)
            for account in range(lanes // len(OPERATIONS))
            for operation in OPERATIONS
        ]
        for start in range(0, len(commands), _AT_ONCE):
            client.enqueue_many(commands[start : start + _AT_ONCE])
        if (found := len(client.lanes())) != lanes:
            raise RuntimeError(f"{found:,} lanes instead of {lanes:,}")
        exporter = Exporter(client)
        read_s, read_cpu_s = _timed(exporter.text, _READS)
        with serving(exporter, "127.0.0.1", 0, every_s=3600) as port:
            scrape_s, _ = _timed(lambda: _scrape(port), _SCRAPES)
    return Figures(lanes, read_s, read_cpu_s, scrape_s)


def _scrape(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        answer.read()


def _timed(do: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the medians of the time and of this process' CPU time."""
    do()
    spans = []
    for _ in range(times):
        began, cpu = time.perf_counter(), time.process_time()
        do()
        spans.append((time.perf_counter() - began, time.process_time() - cpu))
    return median(span for span, _ in spans), median(cpu for _, cpu in spans)
