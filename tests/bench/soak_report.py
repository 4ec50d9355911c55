"""The soak's output: samples in a CSV file and a plot, and a table of the run's first and last tenth."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from tests.bench.plot import Line, Panel, minutes, svg


@dataclass(frozen=True)
class Sample:
    """The measurements of one interval of a few seconds. Sizes are in MiB, times in ms."""

    #: Seconds since the first job, at the end of the interval.
    at_s: float
    worker_1_rss: float
    #: The largest of the other workers; 0 if there is one worker.
    worker_2_rss: float
    vendor_rss: float
    #: Redis' ``used_memory``; and without what comes and goes: outcomes that were not read yet, by their number and the
    #: size of one, and the blocks in which Redis keeps what is written while its file is rewritten.
    redis_memory: float
    redis_memory_steady: float
    #: Keys by family: those of ours that stay (each lane's pace, what all share), those of jobs that wait or are under
    #: way, outcomes that were not read yet, and Celery's and kombu's own.
    keys_standing: int
    keys_under_way: int
    keys_outcomes: int
    keys_other: int
    #: Jobs, over all lanes.
    waiting: int
    in_flight: int
    deferred: int
    enqueued: int
    ended: int
    #: From before ``enqueue`` to the arrival of the call, for the calls of this interval.
    latency_median: float
    latency_p99: float
    calls_per_s: float
    #: Calls in whose preceding second the lane had already made as many calls as its limit.
    over_limit: int
    #: CPU seconds per second, of all workers.
    workers_cpu: float


@dataclass(frozen=True)
class Row:
    """A row of the table: a figure at the start and at the end."""

    what: str
    first: float
    last: float
    #: Whether its growth would be a leak.
    must_not_grow: bool = False

    @property
    def ratio(self) -> float | None:
        """The figure at the end divided by that at the start."""
        return self.last / self.first if self.first else None


_MUST_NOT_GROW: Sequence[tuple[str, Callable[[Sample], float]]] = (
    ("worker 1 RSS (MiB)", lambda one: one.worker_1_rss),
    ("worker 2 RSS (MiB)", lambda one: one.worker_2_rss),
    ("Redis memory, steady part (MiB)", lambda one: one.redis_memory_steady),
    ("keys streamstop.* that stay", lambda one: one.keys_standing),
)
_OTHERS: Sequence[tuple[str, Callable[[Sample], float]]] = (
    ("vendor RSS (MiB)", lambda one: one.vendor_rss),
    ("Redis memory, all (MiB)", lambda one: one.redis_memory),
    ("keys of jobs not ended", lambda one: one.keys_under_way),
    ("keys of unread outcomes", lambda one: one.keys_outcomes),
    ("other keys", lambda one: one.keys_other),
    ("jobs waiting or in flight", lambda one: one.waiting + one.in_flight + one.deferred),
    ("enqueue to call, median (ms)", lambda one: one.latency_median),
    ("enqueue to call, p99 (ms)", lambda one: one.latency_p99),
    ("calls/s", lambda one: one.calls_per_s),
    ("workers' CPU s a second", lambda one: one.workers_cpu),
)


def compared(samples: Sequence[Sample]) -> list[Row]:
    """Return the first and the last tenth of the run: medians of their samples; over-limit calls are summed."""
    tenth = max(1, len(samples) // 10)
    first, last = samples[:tenth], samples[-tenth:]
    rows = [
        Row(what, median(map(of, first)), median(map(of, last)), must_not_grow)
        for group, must_not_grow in ((_MUST_NOT_GROW, True), (_OTHERS, False))
        for what, of in group
    ]
    return [*rows, Row("over-limit calls", sum(s.over_limit for s in first), sum(s.over_limit for s in last))]


def table(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Return the cells of a table."""
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        yield [row.what, f"{row.first:,.2f}", f"{row.last:,.2f}", ratio]


def write_csv(samples: Sequence[Sample], path: Path) -> None:
    """Write one line for each sample."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)], lineterminator="\n")
        writer.writeheader()
        for sample in samples:
            writer.writerow({key: f"{value:.6g}" for key, value in asdict(sample).items()})


def write_plot(samples: Sequence[Sample], path: Path, caption: Sequence[str]) -> None:
    """Write the plot."""

    def line(name: str, of: Callable[[Sample], float]) -> Line:
        return Line(name, [of(sample) for sample in samples])

    panels = [
        Panel(
            "resident memory (MiB)",
            [
                line("worker 1", lambda one: one.worker_1_rss),
                line("worker 2", lambda one: one.worker_2_rss),
                line("vendor", lambda one: one.vendor_rss),
            ],
        ),
        Panel(
            "Redis used_memory (MiB)",
            [
                line("all", lambda one: one.redis_memory),
                line("without unread outcomes and rewriting", lambda one: one.redis_memory_steady),
            ],
        ),
        Panel(
            "keys in Redis",
            [
                line("of lanes", lambda one: one.keys_standing),
                line("of jobs", lambda one: one.keys_under_way),
                line("unread outcomes", lambda one: one.keys_outcomes),
                line("other", lambda one: one.keys_other),
            ],
        ),
        Panel(
            "jobs in all lanes",
            [
                line("waiting", lambda one: one.waiting),
                line("in flight", lambda one: one.in_flight),
                line("deferred", lambda one: one.deferred),
            ],
        ),
        Panel(
            "enqueue to call (ms)",
            [line("median", lambda one: one.latency_median), line("p99", lambda one: one.latency_p99)],
        ),
        Panel(
            "calls a second, and those over a limit",
            [line("calls/s", lambda one: one.calls_per_s), line("over limit", lambda one: one.over_limit)],
        ),
    ]
    path.write_text(svg(panels, minutes(samples[-1].at_s / 60), caption))
