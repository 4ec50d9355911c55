"""Profile: where the CPU of a worker goes. py-spy samples the worker process of each engine under full load.

Each sample counts for one part: that of the innermost frame whose file belongs to a part. So ``json`` counts for its
caller. A part's CPU time is its share of the samples, times the CPU time of a job.
"""

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.producing import OPERATIONS
from tests.bench.results import Section
from tests.bench.stage import OURS, PLAIN, UNLIMITED, Engine, Stage, account, await_true, stage
from tests.bench.throughput import ACCOUNTS, Case, Figures, run

_CASE = Case(lanes=100, latency_ms=0)
_WARM_UP = 300
_SAMPLES_A_SECOND = 250
_PATIENCE_S = 30

#: The part of each file, by the beginning of its path. The first that fits counts.
_PARTS = {
    "HTTP": (
        *("aiohttp/", "httpx/", "httpcore/", "anyio/"),
        *("streamstop_worker/transport.py", "streamstop_worker/aiohttp_adapter.py"),
    ),
    "signing, and reading of answers": ("streamstop_worker/vendors/",),
    "event loop and pool": (
        *("asyncio/", "uvloop/"),
        *("streamstop_worker/celery_parts/pool.py", "streamstop_worker/celery_parts/mailbox.py"),
    ),
    "log line": ("structlog/", "logging/"),
    "Redis": ("redis/", "streamstop/_redis/", "streamstop_worker/pipeline/reporter.py"),
    "messages, commands, records": ("streamstop/", "pydantic/", "streamstop_worker/pipeline/deliveries.py"),
    "Celery and kombu": ("celery/", "kombu/", "billiard/", "vine/", "streamstop_worker/celery_parts/"),
    "decisions about a job": ("streamstop_worker/", "tests/"),
}
_OTHER = "other"
#: A frame of py-spy's raw format: ``function (file:line)``.
_FILE = re.compile(r"\((\S+?)(?::\d+)?\)$")


@dataclass(frozen=True)
class Profile:
    """The profile of one engine."""

    engine: str
    figures: Figures
    #: Samples by part.
    samples: Mapping[str, int]

    def share(self, part: str) -> float:
        """Return a part's share of the samples."""
        return self.samples.get(part, 0) / (sum(self.samples.values()) or 1)


def measure(jobs: int, engines: Sequence[Engine] = (OURS, PLAIN)) -> Section:
    """Profile a worker of each engine while it processes about `jobs` jobs in 100 lanes."""
    profiles = [_profile(engine, jobs) for engine in engines]
    parts = sorted((*_PARTS, _OTHER), key=lambda part: -profiles[0].share(part))
    return Section(
        name="profile",
        text=(
            f"One worker process of each engine, {_CASE.lanes} lanes without a limit, a vendor that only answers."
            f" py-spy samples the worker {_SAMPLES_A_SECOND} times a second. Shares are of the samples in which a"
            " thread ran Python. The CPU of a job is that of a run without py-spy, in ms."
        ),
        header=["", *(f"{one.engine}: {what}" for one in profiles for what in ("share", "ms a job"))],
        rows=[[part, *(cell for one in profiles for cell in _cells(one, one.share(part)))] for part in parts]
        + [["all", *(cell for one in profiles for cell in _cells(one, 1.0))]],
        figures=[asdict(one) for one in profiles],
    )


def _cells(profile: Profile, share: float) -> tuple[str, str]:
    return f"{share:.0%}", f"{share * profile.figures.worker_cpu:.3f}"


def _profile(engine: Engine, jobs: int) -> Profile:
    with stage(engine, [account(name, UNLIMITED, OPERATIONS) for name in ACCOUNTS]) as parts:
        run(parts, _CASE, _WARM_UP)
        figures = run(parts, _CASE, jobs)
        samples = _sample(parts, lambda: run(parts, _CASE, jobs))
    return Profile(engine.name, figures, dict(count(samples.splitlines())))  # asdict() cannot copy a Counter


def _sample(parts: Stage, work: Callable[[], object]) -> str:
    """Return the samples of the worker during `work`, in py-spy's raw format."""
    sampler = Path(sys.executable).with_name("py-spy")
    (pid,) = parts.worker_pids
    with TemporaryDirectory(prefix="streamstop-bench-") as folder:
        file, said = Path(folder, "samples"), Path(folder, "said")
        options = ["--gil", "--format=raw", f"--rate={_SAMPLES_A_SECOND}", "--duration=unlimited"]
        with said.open("w") as output:
            process = subprocess.Popen(
                [sampler, "record", *options, f"--pid={pid}", f"--output={file}"], stdout=output, stderr=output
            )
        try:
            await_true(lambda: "Sampling" in said.read_text() or process.poll() is not None, _PATIENCE_S, "no samples")
            work()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_PATIENCE_S)
        if not file.exists():
            raise RuntimeError(f"py-spy failed: {said.read_text()}")
        return file.read_text()


def count(lines: Iterable[str]) -> Counter[str]:
    """Count samples by part. Each line is ``frame;frame;… samples``, the innermost frame last."""
    counted = Counter[str]()
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        counted[next(filter(None, map(_part_of, reversed(stack.split(";")))), _OTHER)] += int(samples)
    return counted


def _part_of(frame: str) -> str | None:
    found = _FILE.search(frame)
    if found is None:
        return None
    return next((part for part, paths in _PARTS.items() if found[1].startswith(paths)), None)
