"""The parts of a scenario at full speed: a Redis, a vendor that only answers, workers, and a producer."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from streamstop._core.lane import Lane
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from streamstop_worker.accounts import Account
from tests.bench import plain_celery
from tests.bench.answering import Answering, answering
from tests.bench.metering import Reading, read
from tests.bench.producing import Producer, producer
from tests.support.workers import accounts_toml, worker

_REPOSITORY = Path(__file__).parents[2]
#: A limit that no lane of the bench reaches: the highest that an accounts file may have.
UNLIMITED = 100_000.0
#: How long the last calls' reports may take.
REPORTS_S = 0.3
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Engine:
    """What runs the jobs."""

    name: str
    #: Another checkout of streamstop; None: this one.
    path: Path | None = None
    #: Plain Celery instead of streamstop.
    plain: bool = False
    #: A folder with a `sitecustomize` of its workers, and settings of theirs.
    site: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables by which its processes find their code."""
        if self.path is None:
            return {}
        parts = [str(self.path / "producers"), str(self.path / "worker"), str(_REPOSITORY)]
        return {"PYTHONPATH": os.pathsep.join(parts)}

    @property
    def worker_environ(self) -> dict[str, str]:
        """The environment variables of its workers."""
        environ = {**self.environ, **self.settings}
        if self.site is not None:
            path = environ.get("PYTHONPATH") or os.environ.get("PYTHONPATH")
            environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self.site), path]))
        return environ


OURS = Engine("streamstop")
PLAIN = Engine("plain Celery", plain=True)


@dataclass(frozen=True)
class Stage:
    """Running parts."""

    server: RedisServer
    redis: Redis
    vendor: Answering
    worker_pids: Sequence[int]
    #: The engine's producer, and a second one for probes, so that neither waits for the other.
    producer: Producer
    prober: Producer | None

    def reading(self) -> Reading:
        """Read the meters."""
        return read(self.redis, self.worker_pids)

    def await_calls(self, accounts: Iterable[str], wanted: int, patience_s: float) -> None:
        """Wait until the accounts have made so many calls."""
        names = list(accounts)

        def enough() -> bool:
            counts = self.vendor.counts()
            return sum(counts[name] for name in names) >= wanted

        await_true(enough, patience_s, f"fewer than {wanted:,} calls")

    def await_waiting(self, account: str, operation: str, wanted: int, patience_s: float) -> None:
        """Wait until so many jobs of a lane wait, or were called since the vendor's calls were last taken."""
        redis: Any = self.redis
        lists = Lane(account, operation).waiting

        def enough() -> bool:
            waiting: int = sum(redis.llen(name) for name in lists)
            return waiting + self.vendor.counts()[account] >= wanted

        await_true(enough, patience_s, f"fewer than {wanted:,} jobs in their lane")

    def used_memory(self) -> int:
        """Return Redis' ``used_memory``."""
        redis: Any = self.redis
        return int(redis.info("memory")["used_memory"])


@contextmanager
def stage(
    engine: Engine, accounts: Sequence[Account], *, workers: int = 1, latency_ms: float = 0, probes: bool = False
) -> Iterator[Stage]:
    """Start all parts, and run them until the block ends. Workers have their default concurrency."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamstop-bench-")))
        server = stack.enter_context(redis_server())
        vendor = stack.enter_context(answering(latency_ms))
        file = folder / "accounts.toml"
        file.touch(mode=0o600)
        file.write_text(accounts_toml(accounts, vendor.url))
        pids = []
        for number in range(1, workers + 1):
            if engine.plain:
                process = stack.enter_context(plain_celery.worker(number, server.url, vendor.url, folder, limit=None))
            else:
                started = worker(server.url, file, folder=folder, name=f"w{number}", environ=engine.worker_environ)
                process = stack.enter_context(started).process
            pids.append(process.pid)
        arguments = ["plain"] if engine.plain else []
        producers = [
            stack.enter_context(producer(server.url, *arguments, environ=engine.environ)) for _ in range(1 + probes)
        ]
        redis = stack.enter_context(server.client())
        yield Stage(server, redis, vendor, pids, producers[0], producers[1] if probes else None)


def account(name: str, limit: float | None = None, operations: Iterable[str] = ()) -> Account:
    """Return an account at the answering vendor, with a limit for each of `operations`."""
    limits = {} if limit is None else dict.fromkeys(operations, limit)
    return Account(name, "aliyun", f"key-{name}", f"secret-{name}", limits=limits)


def await_true(is_true: Callable[[], bool], patience_s: float, complaint: str) -> None:
    """Wait until something is true; raise :class:`RuntimeError` if that takes too long."""
    deadline = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{complaint} after {patience_s:g} s")
        time.sleep(_LOOK_EVERY_S)


def percentile(values: Iterable[float], percent: float) -> float:
    """Return a percentile: of n values, the ceil(n x percent / 100)-th."""
    ordered = sorted(values)
    return ordered[ceil(len(ordered) * percent / 100) - 1]
