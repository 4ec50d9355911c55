"""A crowd: many accounts with a backlog each, and one account that enqueues a stop at intervals."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from streamstop.operations import find
from tests.bench.answering import most_in_a_second
from tests.bench.metering import busy_share, idle_seconds
from tests.bench.producing import STOP
from tests.bench.results import ONE_AT_A_TIME, Section, Target
from tests.bench.stage import OURS, Engine, account, percentile, stage

_LIMIT = int(find(STOP).spec.limit)
_WORKERS, _LATENCY_MS = 2, 50
_SPARSE, _EVERY_S = "sparse", 0.05
#: A machine that is busier than this has no CPU left for a job that comes.
_BUSY = 0.85


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    engine: str
    busy_accounts: int
    jobs: int
    #: The share of all accounts' limits, from the first call to the last.
    share: float
    most_in_a_second: int
    latency_median_ms: float
    latency_p99_ms: float
    commands_per_job: float
    worker_cpu: float
    #: The share of the machine's cores that all processes used.
    cpu_used: float


def measure(busy: Sequence[int], backlog: int, engines: Sequence[Engine]) -> Section:
    """Process `backlog` stops of each of so many accounts."""
    runs = [_run(engine, number, backlog) for number in busy for engine in engines]
    return Section(
        name="crowd",
        text=(
            f"Busy accounts with {backlog} stops each at {_LIMIT} calls/s; one other, B, enqueues a stop each"
            f" {_EVERY_S:g} s. {_WORKERS} workers; the vendor answers after {_LATENCY_MS} ms."
        ),
        header=[
            "",
            "share of the limits",
            "most in a second",
            "B median (ms)",
            "B p99 (ms)",
            "commands a job",
            "worker CPU s/1,000",
            "machine busy",
        ],
        rows=[
            [
                f"{run.busy_accounts} accounts: {run.engine}",
                f"{run.share:.3f}",
                f"{run.most_in_a_second}",
                f"{run.latency_median_ms:.1f}",
                f"{run.latency_p99_ms:.1f}",
                f"{run.commands_per_job:.1f}",
                f"{run.worker_cpu:.2f}",
                f"{run.cpu_used:.0%}",
            ]
            for run in runs
        ],
        targets=[target for run in runs if run.engine == OURS.name for target in _targets(run)],
        figures=[asdict(run) for run in runs],
    )


def _run(engine: Engine, busy_accounts: int, backlog: int) -> Figures:
    names = [f"busy-{number}" for number in range(busy_accounts)]
    accounts = [account(name) for name in [*names, _SPARSE]]
    with stage(engine, accounts, workers=_WORKERS, latency_ms=_LATENCY_MS, probes=True) as parts:
        assert parts.prober is not None
        # The first calls open connections and load scripts.
        parts.producer.order("send", accounts=names, operations=[STOP], jobs=len(names))
        parts.prober.order("single", account=_SPARSE, times=5)
        parts.await_calls([*names, _SPARSE], len(names) + 5, patience_s=60)
        parts.vendor.take()
        jobs, before = busy_accounts * backlog, parts.reading()
        parts.producer.order("send", accounts=names, operations=[STOP], jobs=jobs)
        idle_s, began = idle_seconds(), time.monotonic()
        with parts.prober.probing(_SPARSE, _EVERY_S):
            parts.await_calls(names, jobs, patience_s=60 + backlog / _LIMIT * 20)
        cpu_used = busy_share(idle_seconds() - idle_s, time.monotonic() - began)
        cost, arrivals = parts.reading().since(before), parts.vendor.take()
    times = [one.at for one in arrivals if one.account != _SPARSE]
    latencies = [one.latency_ms for one in arrivals if one.account == _SPARSE]
    span = max(times) - min(times)
    in_a_second = most_in_a_second(one for one in arrivals if one.account != _SPARSE)
    return Figures(
        engine=engine.name,
        busy_accounts=busy_accounts,
        jobs=len(arrivals),
        share=(backlog - 1) / span / _LIMIT,
        most_in_a_second=max(in_a_second.values()),
        latency_median_ms=median(latencies),
        latency_p99_ms=percentile(latencies, 99),
        commands_per_job=cost.commands / len(arrivals),
        worker_cpu=(cost.cpu_s or 0) / len(arrivals) * 1000,
        cpu_used=cpu_used,
    )


def _targets(run: Figures) -> list[Target]:
    beside = f"beside {run.busy_accounts} accounts"
    p99, busy = f"{run.latency_p99_ms:.1f} ms", f"the machine was {run.cpu_used:.0%} busy"
    cpu = "no CPU is left" if run.cpu_used > _BUSY else ""
    return [
        Target(f"{beside}: B's p99 at most 15 ms while CPU is left", run.latency_p99_ms <= 15, f"{p99}, {busy}", cpu),
        Target(
            f"{beside}: at most 15 commands a job",
            run.commands_per_job <= 15,
            f"{run.commands_per_job:.1f}",
            ONE_AT_A_TIME,
        ),
        Target(f"{beside}: never over {_LIMIT}", run.most_in_a_second <= _LIMIT, f"{run.most_in_a_second}"),
    ]
