"""Growth: a backlog of a thousand to a million jobs in one lane, and its effect on other lanes.

Workers call the backlog's lane at its pace meanwhile. Stops through another lane, without a limit, probe the latency.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.answering import Arrival
from tests.bench.plot import Line, Panel
from tests.bench.producing import PROBE, STOP
from tests.bench.results import Plot, Section, Target
from tests.bench.slowlog import LONGEST_US, slow_log
from tests.bench.stage import OURS, UNLIMITED, Engine, Stage, account, percentile, stage

_BACKLOG, _PROBED = "backlog", "probed"
_WORKERS, _LATENCY_MS, _EVERY_S = 2, 0, 0.02
#: Jobs in one ``enqueue_many``.
_BATCH = 50_000
#: The backlog lane's limit. Jobs that are called while the backlog is filled no longer wait.
_CALLED_A_SECOND = 10


@dataclass(frozen=True)
class Figures:
    """The figures while the backlog grew to `waiting`, and for some seconds after."""

    engine: str
    waiting: int
    bytes_per_job: float
    enqueued_per_s: float
    #: The probed lane's latency, from before ``enqueue`` to the call's arrival, while the backlog was filled and after.
    filling_p99_ms: float
    standing_p99_ms: float
    longest_ms: float
    longest: str
    #: Commands that took Redis more than 5 ms.
    too_long: int


def measure(sizes: Sequence[int], seconds: float, engines: Sequence[Engine]) -> Section:
    """Fill the backlog to each size, and keep measuring for so many seconds."""
    runs = [run for engine in engines for run in _runs(engine, sizes, seconds)]
    runs.sort(key=lambda run: run.waiting)
    return Section(
        name="growth",
        text=(
            f"A backlog in one lane of {_CALLED_A_SECOND} calls/s, filled by enqueue_many of up to {_BATCH:,} jobs;"
            f" another lane enqueues a stop each {_EVERY_S * 1000:g} ms, while the backlog is filled and for"
            f" {seconds:g} s after. {_WORKERS} workers."
        ),
        header=[
            "jobs waiting",
            "bytes a job",
            "enqueued/s",
            "other lane p99, filling (ms)",
            "after (ms)",
            "longest command (ms)",
            f"over {LONGEST_US // 1000} ms",
        ],
        rows=[
            [
                f"{run.waiting:,}: {run.engine}",
                f"{run.bytes_per_job:,.0f}",
                f"{run.enqueued_per_s:,.0f}",
                f"{run.filling_p99_ms:.1f}",
                f"{run.standing_p99_ms:.1f}",
                f"{run.longest_ms:.1f}",
                f"{run.too_long}",
            ]
            for run in runs
        ],
        targets=[target for run in runs if run.engine == OURS.name for target in _targets(run)],
        figures=[asdict(run) for run in runs],
        plots=[_plot([run for run in runs if run.engine == OURS.name])],
    )


def _runs(engine: Engine, sizes: Sequence[int], seconds: float) -> list[Figures]:
    accounts = [account(_BACKLOG), account(_PROBED, UNLIMITED, [PROBE])]
    with stage(engine, accounts, workers=_WORKERS, latency_ms=_LATENCY_MS, probes=True) as parts:
        assert parts.prober is not None
        parts.producer.order("send", accounts=[_BACKLOG], operations=[STOP], jobs=5)
        parts.prober.order("single", account=_PROBED, times=5)
        parts.await_calls([_BACKLOG, _PROBED], 10, patience_s=30)
        return [
            _run(engine, parts, size, size - before, seconds) for before, size in zip([0, *sizes], sizes, strict=False)
        ]


def _run(engine: Engine, parts: Stage, size: int, more: int, seconds: float) -> Figures:
    assert parts.prober is not None
    parts.vendor.take()
    used_before, began, took_s = parts.used_memory(), time.time(), 0.0
    with slow_log(parts.redis) as slow:
        with parts.prober.probing(_PROBED, _EVERY_S):
            for start in range(0, more, _BATCH):
                jobs = min(_BATCH, more - start)
                sent = parts.producer.order("send", accounts=[_BACKLOG], operations=[STOP], jobs=jobs)
                took_s += sent["took_s"]
            # Jobs that were called since the start no longer wait.
            called = (time.time() - began + 10) * _CALLED_A_SECOND * 2
            parts.await_waiting(_BACKLOG, STOP, round(max(size - called, 0) * 0.99), patience_s=120)
            filled, grown = time.time(), parts.used_memory() - used_before
            time.sleep(seconds)
        arrivals = [one for one in parts.vendor.take() if one.account == _PROBED]
    return Figures(
        engine=engine.name,
        waiting=size,
        bytes_per_job=grown / more,
        enqueued_per_s=more / took_s,
        filling_p99_ms=_p99([one for one in arrivals if one.sent_at < filled]),
        standing_p99_ms=_p99([one for one in arrivals if one.sent_at >= filled]),
        longest_ms=slow.longest_ms,
        longest=slow.longest[1],
        too_long=slow.too_long,
    )


def _p99(arrivals: Sequence[Arrival]) -> float:
    """Return the percentile; 0 if the time was too short for a probe."""
    return percentile((one.latency_ms for one in arrivals), 99) if arrivals else 0.0


def _targets(run: Figures) -> list[Target]:
    waiting, p99_ms = f"{run.waiting:,} waiting", run.standing_p99_ms
    longest = f"{run.too_long}, the longest {run.longest_ms:.1f} ms ({run.longest})"
    return [
        Target(f"{waiting}: no command over {LONGEST_US // 1000} ms", run.too_long == 0, longest),
        Target(f"{waiting}: the other lane's p99 at most 15 ms", p99_ms <= 15, f"{p99_ms:.1f} ms"),
    ]


def _plot(runs: Sequence[Figures]) -> Plot:
    panels = [
        Panel("Redis bytes a waiting job", [Line("bytes", [run.bytes_per_job for run in runs])]),
        Panel("jobs enqueued a second", [Line("enqueue_many", [run.enqueued_per_s for run in runs])]),
        Panel(
            "another lane: enqueue to call, p99 (ms)",
            [
                Line("while filling", [run.filling_p99_ms for run in runs]),
                Line("after", [run.standing_p99_ms for run in runs]),
            ],
        ),
        Panel("the longest Redis command (ms)", [Line("ms", [run.longest_ms for run in runs])]),
    ]
    return Plot("bench-growth.svg", [f"{run.waiting:,}" for run in runs], panels)
