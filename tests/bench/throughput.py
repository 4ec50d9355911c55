"""Throughput: one worker process of each engine, many jobs in lanes without a limit, a vendor that only answers.

The engines take turns. Each turn runs every case with the same workers. Each case processes a backlog, whose size
follows from the engine's earlier speed. The measurement starts at the end of the enqueueing.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from tests.bench.plot import Line, Panel
from tests.bench.producing import OPERATIONS
from tests.bench.results import Plot, Section, Target
from tests.bench.stage import OURS, PLAIN, REPORTS_S, UNLIMITED, Engine, Stage, account, stage

ACCOUNTS = [f"a{number}" for number in range(200)]
_WARM_UP, _FEWEST, _MOST = 300, 200, 40_000
_PATIENCE_S = 120


@dataclass(frozen=True)
class Case:
    """What is run."""

    lanes: int
    latency_ms: int

    @property
    def accounts(self) -> list[str]:
        """Five lanes for each account, or one lane."""
        return ACCOUNTS[: max(1, self.lanes // len(OPERATIONS))]

    @property
    def operations(self) -> Sequence[str]:
        """The operations of each account."""
        return OPERATIONS[: self.lanes]


@dataclass(frozen=True)
class Figures:
    """The figures. CPU is in seconds per thousand jobs."""

    jobs: int
    jobs_per_s: float
    worker_cpu: float
    redis_cpu: float
    commands_per_job: float


@dataclass(frozen=True)
class Throughput:
    """The parameters."""

    cases: Sequence[Case]
    rounds: int
    #: The approximate time of one case in one round.
    seconds: float


QUICK = Throughput([Case(1, 0), Case(100, 0), Case(1000, 0), Case(100, 50)], rounds=1, seconds=1.5)
FULL = Throughput([Case(lanes, latency) for latency in (0, 50) for lanes in (1, 100, 1000)], rounds=5, seconds=4)


def measure(asked: Throughput, engines: Sequence[Engine]) -> Section:
    """Run the cases."""
    rounds: dict[tuple[str, Case], list[Figures]] = defaultdict(list)
    for number in range(asked.rounds):
        for engine in engines if number % 2 == 0 else reversed(engines):
            _turn(asked, engine, rounds)
    return _section(asked, engines, {of: _medians(runs) for of, runs in rounds.items()}, rounds)


def _turn(asked: Throughput, engine: Engine, rounds: dict[tuple[str, Case], list[Figures]]) -> None:
    accounts = [account(name, UNLIMITED, OPERATIONS) for name in ACCOUNTS]
    with stage(engine, accounts) as parts:
        warm_up = run(parts, Case(100, 0), _WARM_UP)
        for case in asked.cases:
            earlier = rounds[engine.name, case] or [warm_up]
            jobs = round(min(max(earlier[-1].jobs_per_s * asked.seconds, _FEWEST), _MOST))
            parts.vendor.set_latency(case.latency_ms)
            rounds[engine.name, case].append(run(parts, case, jobs))


def run(parts: Stage, case: Case, jobs: int) -> Figures:
    """Process a backlog of so many jobs in the case's lanes."""
    parts.vendor.take()
    parts.producer.order("send", accounts=case.accounts, operations=case.operations, jobs=jobs)
    before, began = parts.reading(), time.monotonic()
    parts.await_calls(case.accounts, jobs, _PATIENCE_S)
    time.sleep(REPORTS_S)
    cost = parts.reading().since(before)
    arrivals = parts.vendor.take()
    if len(arrivals) != jobs:
        raise RuntimeError(f"{len(arrivals):,} calls for {jobs:,} jobs")
    counted = [one.at for one in arrivals if one.at > began]
    if not counted:
        raise RuntimeError(f"{jobs:,} jobs were done before the last was enqueued; take more")
    thousands = len(counted) / 1000
    return Figures(
        jobs=len(counted),
        jobs_per_s=len(counted) / (max(counted) - began),
        worker_cpu=(cost.cpu_s or 0) / thousands,
        redis_cpu=cost.redis_cpu_s / thousands,
        commands_per_job=cost.commands / len(counted),
    )


def _medians(runs: Sequence[Figures]) -> Figures:
    every = [asdict(run) for run in runs]
    return Figures(**{name: median(run[name] for run in every) for name in every[0]})


def _section(
    asked: Throughput,
    engines: Sequence[Engine],
    of: dict[tuple[str, Case], Figures],
    rounds: dict[tuple[str, Case], list[Figures]],
) -> Section:
    rows = [
        [
            f"{case.lanes:,} lanes, {case.latency_ms} ms: {engine.name}",
            f"{of[engine.name, case].jobs_per_s:,.0f}",
            f"{of[engine.name, case].jobs_per_s / of[engines[-1].name, case].jobs_per_s:.2f} x",
            f"{of[engine.name, case].worker_cpu:.2f}",
            f"{of[engine.name, case].redis_cpu:.3f}",
            f"{of[engine.name, case].commands_per_job:.1f}",
        ]
        for case in asked.cases
        for engine in engines
    ]
    targets = [
        target for case in asked.cases if case.lanes == 100 for target in _targets(case, of, compared=PLAIN in engines)
    ]
    lanes = sorted({case.lanes for case in asked.cases})
    plotted = [latency for latency in (0, 50) if all(Case(number, latency) in asked.cases for number in lanes)]
    panels = [
        Panel(
            f"{what}, vendor {latency} ms",
            [Line(one.name, [getattr(of[one.name, Case(n, latency)], name) for n in lanes]) for one in engines],
        )
        for latency in plotted
        for what, name in (("jobs a second", "jobs_per_s"), ("worker CPU s a 1,000 jobs", "worker_cpu"))
    ]
    return Section(
        name="throughput",
        text=(
            "One worker process of each engine, at its default concurrency (plain Celery: 16 threads), in turns,"
            f" medians of {asked.rounds}; lanes without a limit; the vendor only answers, after 0 or 50 ms. The ratio"
            f" is to {engines[-1].name}. Commands do not include the producer's."
        ),
        header=["", "jobs/s", "ratio", "worker CPU s/1,000", "Redis CPU s/1,000", "commands a job"],
        rows=rows,
        targets=targets,
        figures=[
            {"engine": name, **asdict(case), **asdict(run)} for (name, case), runs in rounds.items() for run in runs
        ],
        plots=[Plot("bench-throughput.svg", [f"{number:,} lanes" for number in lanes], panels)],
    )


#: `python -m tests.bench profile` shows it.
_CPU_LIMIT = "the Python that one job runs; the HTTP client has the largest part: see profile"
_REDIS_LIMIT = "a batch reads and writes each of its lanes once, so more lanes are more commands a job"


def _targets(case: Case, of: dict[tuple[str, Case], Figures], *, compared: bool) -> list[Target]:
    ours = of[OURS.name, case]
    where = f"{case.lanes} lanes, vendor {case.latency_ms} ms"
    targets = [
        Target(
            f"{where}: at most 0.6 worker CPU s a 1,000 jobs",
            ours.worker_cpu <= 0.6,
            f"{ours.worker_cpu:.2f}",
            _CPU_LIMIT,
        ),
        Target(
            f"{where}: at most 0.1 Redis CPU s a 1,000 jobs",
            ours.redis_cpu <= 0.1,
            f"{ours.redis_cpu:.3f}",
            _REDIS_LIMIT,
        ),
    ]
    if compared:
        ratio = ours.jobs_per_s / of[PLAIN.name, case].jobs_per_s
        targets.append(
            Target(f"{where}: at least 5 x plain Celery's jobs a second", ratio >= 5, f"{ratio:.2f} x", _CPU_LIMIT)
        )
    return targets
