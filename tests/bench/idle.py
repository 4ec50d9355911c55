"""Idle: the cost of workers and Redis without a job, and the latency of a single job then."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from tests.bench.results import Section, Target
from tests.bench.stage import OURS, Engine, account, stage

_WORKERS = 2
#: How long workers take to settle after their start.
_SETTLE_S = 3
_PROBES, _EVERY_S = 100, 0.05


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    engine: str
    accounts: int
    #: Shares of one core: all workers together, and Redis.
    workers_cpu: float
    redis_cpu: float
    #: Redis commands per second and worker.
    commands: float
    #: From before ``enqueue`` to the call's arrival.
    latency_median_ms: float


def measure(accounts: Sequence[int], seconds: float, engines: Sequence[Engine]) -> Section:
    """Measure idle workers for so long, with each number of accounts."""
    runs = [_run(engine, number, seconds) for number in accounts for engine in engines]
    return Section(
        name="idle",
        text=f"{_WORKERS} workers without a job for {seconds:g} s; then a single job each {_EVERY_S:g} s.",
        header=["", "workers, of a core", "Redis, of a core", "commands/s a worker", "enqueue to call (ms)"],
        rows=[
            [
                f"{run.accounts:,} accounts: {run.engine}",
                f"{run.workers_cpu:.2%}",
                f"{run.redis_cpu:.2%}",
                f"{run.commands:.1f}",
                f"{run.latency_median_ms:.1f}",
            ]
            for run in runs
        ],
        targets=[target for run in runs if run.engine == OURS.name for target in _targets(run)],
        figures=[asdict(run) for run in runs],
    )


def _run(engine: Engine, number: int, seconds: float) -> Figures:
    names = [f"idle-{index}" for index in range(number)]
    with stage(engine, [account(name) for name in names], workers=_WORKERS, probes=True) as parts:
        assert parts.prober is not None
        time.sleep(_SETTLE_S)
        before, began = parts.reading(), time.monotonic()
        time.sleep(seconds)
        cost, past = parts.reading().since(before), time.monotonic() - began
        parts.prober.order("single", account=names[0], times=5)
        parts.await_calls(names, 5, patience_s=30)
        parts.vendor.take()
        with parts.prober.probing(names[0], _EVERY_S):
            parts.await_calls(names, _PROBES, patience_s=60)
        latencies = [one.latency_ms for one in parts.vendor.take()]
    return Figures(
        engine=engine.name,
        accounts=number,
        workers_cpu=(cost.cpu_s or 0) / past,
        redis_cpu=cost.redis_cpu_s / past,
        commands=cost.commands / past / _WORKERS,
        latency_median_ms=median(latencies),
    )


_COMMANDS = (
    "each second the wait for a wake token, the sweep, and the search for jobs that no producer has announced, which"
    " asks for the lanes of every account; beside them the signs of life, ours and Celery's"
)


def _targets(run: Figures) -> list[Target]:
    beside = f"{run.accounts:,} accounts, idle"
    waited = run.latency_median_ms
    return [
        Target(f"{beside}: the workers use at most 1 % of a core", run.workers_cpu <= 0.01, f"{run.workers_cpu:.2%}"),
        Target(
            f"{beside}: at most 10 commands a second a worker", run.commands <= 10, f"{run.commands:.1f}", _COMMANDS
        ),
        Target(f"{beside}: enqueue to call at most 3 ms at the median", waited <= 3, f"{waited:.1f} ms"),
    ]
