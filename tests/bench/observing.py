"""Observing: the CPU that metrics and traces cost a worker.

A worker of each kind runs beside the others, each with a Redis and a vendor of its own. They process equal backlogs in
turns, one at a time. Each notes the CPU time that it spends in what observes its jobs, so the share of a turn's CPU is
known whatever else runs on the machine. The ratio to the plain worker also has what observing costs elsewhere, such as
longer log lines, but neighbours on the machine change it by several percent. They only ever add CPU time, so it is that
of the quietest quarter of the turns.
"""

import os
import signal
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

from streamstop_simulator.demo.embedded_redis import free_port
from tests.bench.metering import cpu_seconds
from tests.bench.producing import OPERATIONS
from tests.bench.results import Section, Target
from tests.bench.stage import OURS, REPORTS_S, UNLIMITED, Stage, account, stage

_ACCOUNTS = [f"a{number}" for number in range(20)]
_LANES = len(_ACCOUNTS) * len(OPERATIONS)
_PATIENCE_S = 120
#: Notes the CPU time of the observers in a file, and sets up OpenTelemetry's SDK as `opentelemetry-instrument` does.
#: Spans are batched, and discarded instead of exported.
_SITE = """
import mmap
import os
import struct
import time

if "OTEL_TRACES_SAMPLER" in os.environ:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Discarding(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discarding()))
    trace.set_tracer_provider(provider)

from streamstop_worker.pipeline.observer import Observers

with open(os.environ["OBSERVED"], "r+b") as file:
    noted = mmap.mmap(file.fileno(), 8)
spent, tell = 0, Observers._tell

def timed(self, *arguments):
    global spent
    began = time.thread_time_ns()
    tell(self, *arguments)
    spent += time.thread_time_ns() - began
    struct.pack_into("q", noted, 0, spent)

Observers._tell = timed
"""
_ONE_PERCENT = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
_METRICS = "STREAMSTOP_METRICS_PORT"
PLAIN = "plain"
_GOAL = 0.02


@dataclass(frozen=True)
class Kind:
    """A worker with these settings. A metrics port of 0 stands for a free one."""

    name: str
    settings: Mapping[str, str]
    #: Whether it is expected to cost at most two percent.
    is_cheap: bool = True


KINDS = (
    Kind(PLAIN, {}),
    Kind("metrics", {_METRICS: "0"}),
    Kind("traces, 1 % sampled", _ONE_PERCENT),
    Kind("traces, all sampled", {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, is_cheap=False),
)


@dataclass(frozen=True)
class Running:
    """A worker with its surroundings."""

    parts: Stage
    #: Where it serves its metrics, if it does.
    port: str | None
    #: The file in which it notes the CPU time of its observers, in ns.
    observed: Path

    @property
    def used_s(self) -> float:
        """The CPU seconds that it has used."""
        used = cpu_seconds(self.parts.worker_pids)
        if used is None:
            raise RuntimeError("this scenario needs Linux")
        return used

    @property
    def observing_s(self) -> float:
        """Those that were used by what observes its jobs."""
        return int.from_bytes(self.observed.read_bytes(), sys.byteorder) / 1e9

    def scrape(self) -> float:
        """Scrape the metrics; return the CPU seconds that this cost."""
        before = self.used_s
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as scraped:
            scraped.read()
        return self.used_s - before

    def turn(self, jobs: int) -> "Turn":
        """Process a backlog."""
        parts, (pid,) = self.parts, self.parts.worker_pids
        parts.vendor.take()
        used, observing = self.used_s, self.observing_s
        os.kill(pid, signal.SIGSTOP)  # so that every backlog is whole when its first job is taken
        try:
            parts.producer.order("send", accounts=_ACCOUNTS, operations=OPERATIONS, jobs=jobs)
        finally:
            os.kill(pid, signal.SIGCONT)
        parts.await_calls(_ACCOUNTS, jobs, _PATIENCE_S)
        time.sleep(REPORTS_S)
        used, observing = self.used_s - used, self.observing_s - observing
        if (called := sum(parts.vendor.counts().values())) != jobs:
            raise RuntimeError(f"{called:,} calls for {jobs:,} jobs")
        return Turn(used / jobs * 1000, observing / used)


@dataclass(frozen=True)
class Turn:
    """What one backlog cost."""

    #: CPU seconds of the worker per thousand jobs.
    worker_cpu: float
    #: The share of it that was used by what observes the jobs.
    share: float


def measure(jobs: int, rounds: int, starts: int) -> Section:
    """Run `rounds` of so many jobs for each kind of worker, after each of `starts`."""
    turns: dict[str, list[Turn]] = defaultdict(list)
    scrapes: list[float] = []
    for _ in range(starts):
        with _running() as workers:
            for worker in workers.values():
                worker.turn(jobs)  # warms it up
            for number in range(rounds):
                for name in list(workers)[:: 1 if number % 2 == 0 else -1]:
                    turns[name].append(workers[name].turn(jobs))
            scrapes += [worker.scrape() for worker in workers.values() if worker.port is not None]
    shares = {name: median(turn.share for turn in of) for name, of in turns.items()}
    quietest = {name: _quietest([turn.worker_cpu for turn in of]) for name, of in turns.items()}
    return Section(
        name="observing",
        text=(
            f"One worker of each kind; {jobs:,} jobs in {_LANES} lanes without a limit, the kinds in turns,"
            f" {starts * rounds} rounds, {starts} starts. The share is that of what observes the jobs in the worker's"
            " CPU, at the median. The ratio is to the plain worker, between the means of the quietest quarters: other"
            f" programs on the machine change it by several percent. A scrape of the {_LANES} lanes comes on top, and"
            f" costs the worker {median(scrapes) * 1000:.0f} ms of CPU. Spans are batched and discarded: an exporter"
            " costs more for each span that is sampled."
        ),
        header=["", "share", "worker CPU s/1,000, median", "quietest quarter", "ratio"],
        rows=[
            [
                kind.name,
                f"{shares[kind.name]:.2%}",
                f"{median(turn.worker_cpu for turn in turns[kind.name]):.3f}",
                f"{quietest[kind.name]:.3f}",
                f"{quietest[kind.name] / quietest[PLAIN]:.2f} x",
            ]
            for kind in KINDS
        ],
        targets=[
            Target(
                f"{kind.name}: at most 2 % of a worker's CPU", shares[kind.name] <= _GOAL, f"{shares[kind.name]:.2%}"
            )
            for kind in KINDS
            if kind.is_cheap and kind.name != PLAIN
        ],
        figures=[
            *({"kind": name, "turns": [asdict(turn) for turn in of]} for name, of in turns.items()),
            {"scrape_s": scrapes},
        ],
    )


@contextmanager
def _running() -> Iterator[Mapping[str, Running]]:
    """Run a worker of each kind."""
    accounts = [account(name, UNLIMITED, OPERATIONS) for name in _ACCOUNTS]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamstop-bench-")))
        (folder / "sitecustomize.py").write_text(_SITE)
        made = {}
        for number, kind in enumerate(KINDS):
            observed = folder / f"observed-{number}"
            observed.write_bytes(bytes(8))
            settings = {**kind.settings, "OBSERVED": str(observed)}
            if _METRICS in settings:
                settings[_METRICS] = str(free_port())
            engine = replace(OURS, site=folder, settings=settings)
            made[kind.name] = Running(stack.enter_context(stage(engine, accounts)), settings.get(_METRICS), observed)
        yield made


def _quietest(values: Sequence[float]) -> float:
    """Return the mean of the least quarter."""
    return mean(sorted(values)[: max(1, len(values) // 4)])
