"""High limits: the share of one lane's limit that is used during a backlog, and whether it is ever exceeded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.answering import most_in_a_second
from tests.bench.producing import OPERATIONS
from tests.bench.results import Section, Target
from tests.bench.stage import OURS, Engine, account, stage

_ACCOUNT, _OPERATION = "high", OPERATIONS[2]
_LIMITS = (100, 500)
_LATENCY_MS = 50
_LEAST_SHARE = 0.96


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    engine: str
    limit: int
    workers: int
    jobs: int
    #: The share of the limit, from the first call to the last.
    share: float
    most_in_a_second: int
    worker_cpu: float

    @property
    def what(self) -> str:
        """The row's name."""
        return f"{self.limit}/s, {self.workers} worker{'s' if self.workers > 1 else ''}"


def measure(seconds: float, workers: Sequence[int], engines: Sequence[Engine]) -> Section:
    """Process a backlog of so many seconds, for each limit and number of workers."""
    runs = [
        _run(engine, limit, number, round(limit * seconds))
        for limit in _LIMITS
        for number in workers
        for engine in engines
    ]
    return Section(
        name="high",
        text=(
            f"One lane with a high limit and a backlog of {seconds:g} s; the vendor answers after {_LATENCY_MS} ms."
            " The share is of the limit, from the first call to the last."
        ),
        header=["", "share of the limit", "most calls in a second", "worker CPU s/1,000"],
        rows=[
            [f"{run.what}: {run.engine}", f"{run.share:.3f}", f"{run.most_in_a_second}", f"{run.worker_cpu:.2f}"]
            for run in runs
        ],
        targets=[target for run in runs if run.engine == OURS.name for target in _targets(run)],
        figures=[asdict(run) for run in runs],
    )


def _run(engine: Engine, limit: int, workers: int, jobs: int) -> Figures:
    accounts = [account(_ACCOUNT, limit, [_OPERATION])]
    with stage(engine, accounts, workers=workers, latency_ms=_LATENCY_MS) as parts:
        parts.producer.order("send", accounts=[_ACCOUNT], operations=[_OPERATION], jobs=5)
        parts.await_calls([_ACCOUNT], 5, patience_s=30)
        parts.vendor.take()
        before = parts.reading()
        parts.producer.order("send", accounts=[_ACCOUNT], operations=[_OPERATION], jobs=jobs)
        parts.await_calls([_ACCOUNT], jobs, patience_s=60 + jobs / limit * 5)
        cost, arrivals = parts.reading().since(before), parts.vendor.take()
    times = [one.at for one in arrivals]
    return Figures(
        engine=engine.name,
        limit=limit,
        workers=workers,
        jobs=len(times),
        share=(len(times) - 1) / (max(times) - min(times)) / limit,
        most_in_a_second=max(most_in_a_second(arrivals).values()),
        worker_cpu=(cost.cpu_s or 0) / len(times) * 1000,
    )


def _targets(run: Figures) -> list[Target]:
    targets = [
        Target(f"{run.what}: never over {run.limit}", run.most_in_a_second <= run.limit, f"{run.most_in_a_second}")
    ]
    if run.workers == 1:
        reached = run.share >= _LEAST_SHARE
        targets.append(Target(f"{run.what}: at least {_LEAST_SHARE:.0%} of the limit", reached, f"{run.share:.1%}"))
    return targets
