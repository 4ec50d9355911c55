"""The soak: an even load on real workers for a long time. It shows whether memory or the number of keys grows.

The producer and the vendor run in their own processes. Redis has an append-only file. Every second the harness reads
the vendors' calls and the jobs' outcomes, and keeps only counts.
"""

import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
from redis import Redis

from streamstop._core.lane import Lane
from streamstop._core.pace import HEADROOM
from streamstop._redis.lanes import Lanes
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench.metering import cpu_seconds, machine
from tests.bench.soak_load import Book, accounts_for, lanes_of, load, operation_ids
from tests.bench.soak_report import Sample
from tests.bench.soak_vendors import FORGET_EVERY_S, LATENCY_MS, SIMULATOR, VENDORS, SoakVendor, soak_vendor
from tests.support.workers import accounts_toml, worker

__all__ = ["VENDORS", "Soak", "SoakFigures", "caption", "measure"]

#: The load as a share of the lanes' pace.
LOAD = 0.8
SAMPLE_S = 5
_PATIENCE_S = 120
#: Keys that exist while a lane holds jobs: its list of waiting jobs, and the keys of jobs in flight or deferred.
_QUEUES, _OF_JOBS = (b"streamstop.lane.", b"streamstop.ready"), (b":leases", b":jobs", b":due")
_MIB = 1024 * 1024
#: What Redis 6 and earlier takes at once for what is written while its file is rewritten; its own count of that is of
#: the bytes in use.
_REWRITE_BLOCK = 10 * _MIB


@dataclass(frozen=True)
class Soak:
    """The parameters of a soak."""

    minutes: float
    #: Jobs per second over all lanes.
    rate: float
    lanes: int
    workers: int
    #: A worker's concurrency; None: the default.
    concurrency: int | None
    #: One of :data:`VENDORS`.
    vendor: str

    @property
    def name(self) -> str:
        """The name of its files."""
        return "soak" if self.vendor == SIMULATOR else f"soak-{self.vendor}"

    @property
    def limit(self) -> int:
        """The limit of each lane: a whole number, so that the load is about :data:`LOAD` of the pace."""
        return max(1, round(self.rate / self.lanes / LOAD / (1 - HEADROOM)))

    @property
    def offered(self) -> float:
        """The load as a share of the pace."""
        return self.rate / self.lanes / (self.limit * (1 - HEADROOM))


@dataclass(frozen=True)
class SoakFigures:
    """What was measured."""

    machine: str
    enqueued: int
    #: The jobs' results, and how many jobs were called more than once.
    results: Counter[str]
    called_again: int
    calls: int
    #: Calls over a limit, as the harness and the simulator count them.
    over_limit: int
    dropped: int
    #: Bytes of one outcome in Redis.
    record_bytes: int
    #: The workers' log events at warning or above, and how often each occurred.
    warnings: Counter[str]


def caption(asked: Soak, figures: SoakFigures) -> list[str]:
    """Return what was run and the results, in lines of text."""
    ends = ", ".join(f"{count:,} {result}" for result, count in figures.results.most_common())
    logged = ", ".join(f"{count:,} x {line}" for line, count in figures.warnings.most_common()) or "none"
    at_once = "at their default concurrency" if asked.concurrency is None else f"of concurrency {asked.concurrency}"
    text = [
        f"{asked.minutes:g} min; {asked.rate:g} enqueues a second at an even pace, in turn to {asked.lanes}"
        f" lanes of {asked.limit} calls/s: {asked.offered:.0%} of their pace.",
        f"{asked.workers} workers {at_once}; the {asked.vendor} vendor answers after {LATENCY_MS} ms; Redis"
        f" appends to its file; all on one machine: {figures.machine}.",
        f"{figures.enqueued:,} jobs ended: {ends}; {figures.calls:,} calls, {figures.called_again:,} jobs called more"
        f" than once; over a limit: {figures.over_limit}, dropped as such by the vendor: {figures.dropped}.",
        "The harness reads, checks and deletes each outcome, as a service that keeps its own books might;"
        f" left alone, one takes {figures.record_bytes:,} bytes until it expires.",
    ]
    if asked.vendor == SIMULATOR:
        text.append(
            f"The simulator is told to forget calls and tasks every {FORGET_EVERY_S} s; it knows nonces for the quarter"
            " of an hour for which vendors must know them."
        )
    return [*text, f"Logged by the workers as a warning or worse: {logged}."]


class _Calls:
    """The calls at the vendors. Each look reads those since the last."""

    def __init__(self, vendor: SoakVendor, limit: int) -> None:
        self._vendor = vendor
        self._limit = limit
        self._arrivals: dict[Lane, deque[float]] = {}
        self.over_limit = self.dropped = 0
        self.latencies_ms: list[float] = []

    @property
    def total(self) -> int:
        """How many there were."""
        return self._vendor.total

    def look(self) -> None:
        """Count what arrived."""
        for call in self._vendor.new_calls():
            arrivals = self._arrivals.setdefault(call.lane, deque(maxlen=self._limit))
            full = len(arrivals) == self._limit
            self.over_limit += full and call.at - arrivals[0] < 1.0
            self.dropped += call.dropped
            arrivals.append(call.at)
            self.latencies_ms.append(call.latency_ms)


class _Sampler:
    """Takes samples."""

    def __init__(self, redis: Redis, book: Book, calls: _Calls, lanes: Sequence[Lane], pids: Sequence[int]) -> None:
        self._redis: Any = redis
        self._lanes, self._every_lane = Lanes(redis), lanes
        self._book, self._calls = book, calls
        *self._worker_pids, self._vendor_pid = pids
        self._began = self._last_at = time.monotonic()
        self._last_calls, self._last_over = calls.total, calls.over_limit
        self._last_cpu = cpu_seconds(self._worker_pids) or 0.0

    def sample(self) -> Sample:
        """Return the sample of the time since the last one."""
        now, calls, book = time.monotonic(), self._calls, self._book
        past, cpu = now - self._last_at, cpu_seconds(self._worker_pids) or 0.0
        families = Counter(map(_family, self._redis.scan_iter(count=1000)))
        info = self._redis.info()
        used = info["used_memory"]
        unread, rewriting = families["outcomes"] * book.record_bytes, info.get("aof_rewrite_buffer_length", 0)
        passing = unread + -(-rewriting // _REWRITE_BLOCK) * _REWRITE_BLOCK
        views = self._lanes.views(self._every_lane)
        rss = [_rss(pid) for pid in self._worker_pids]
        latencies = sorted(calls.latencies_ms) or [0.0]
        made = Sample(
            at_s=now - self._began,
            worker_1_rss=rss[0],
            worker_2_rss=max(rss[1:], default=0.0),
            vendor_rss=_rss(self._vendor_pid),
            redis_memory=used / _MIB,
            redis_memory_steady=(used - passing) / _MIB,
            keys_standing=families["standing"],
            keys_under_way=families["under way"],
            keys_outcomes=families["outcomes"],
            keys_other=families["other"],
            waiting=sum(view.waiting for view in views),
            in_flight=sum(view.in_flight for view in views),
            deferred=sum(view.deferred for view in views),
            enqueued=book.enqueued,
            ended=book.ended,
            latency_median=median(latencies),
            latency_p99=latencies[ceil(len(latencies) * 0.99) - 1],
            calls_per_s=(calls.total - self._last_calls) / past,
            over_limit=calls.over_limit - self._last_over,
            workers_cpu=(cpu - self._last_cpu) / past,
        )
        self._last_at, self._last_calls, self._last_over, self._last_cpu = now, calls.total, calls.over_limit, cpu
        calls.latencies_ms.clear()
        return made


def measure(soak: Soak, samples: list[Sample]) -> SoakFigures:
    """Run the soak, and add each sample to `samples`, so that they survive a run that fails.

    Raises :class:`RuntimeError` if a job has not ended long after the last was enqueued.
    """
    accounts, limits = accounts_for(soak.lanes), {name: float(soak.limit) for name in operation_ids()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamstop-soak-")))
        (folder / "redis").mkdir()
        server = stack.enter_context(redis_server("--appendonly", "yes", folder=folder / "redis"))
        lanes = [Lane(account, kind.spec.id) for account, kind in lanes_of(accounts)]
        vendor = stack.enter_context(soak_vendor(soak.vendor, accounts, lanes, soak.limit))
        file = folder / "accounts.toml"
        file.touch(mode=0o600)
        file.write_text(accounts_toml(accounts, vendor.url, limits))
        arguments = () if soak.concurrency is None else ("--concurrency", str(soak.concurrency))
        workers = [
            stack.enter_context(worker(server.url, file, *arguments, folder=folder, name=f"w{number}"))
            for number in range(1, soak.workers + 1)
        ]
        redis = stack.enter_context(server.client())
        book = stack.enter_context(load(redis, server.url, soak.rate, soak.lanes, soak.minutes * 60))
        calls = _Calls(vendor, soak.limit)
        sampler = _Sampler(redis, book, calls, lanes, [*(one.process.pid for one in workers), vendor.pid])
        samples.extend(_samples(sampler, book, calls, soak.minutes * 60))
        _await_end(book, calls)
        return SoakFigures(
            machine=machine(redis),
            enqueued=book.enqueued,
            results=book.results,
            called_again=book.called_again,
            calls=calls.total,
            over_limit=calls.over_limit,
            dropped=calls.dropped,
            record_bytes=book.record_bytes,
            warnings=_warnings(sorted(folder.glob("w*.log"))),
        )


def _samples(sampler: _Sampler, book: Book, calls: _Calls, seconds: float) -> Iterator[Sample]:
    """Look every second, and yield a sample every few seconds, until the time is over."""
    began = time.monotonic()
    for second in range(1, round(seconds) + 1):
        time.sleep(max(0.0, began + second - time.monotonic()))
        calls.look()
        book.settle()
        if book.producer_failed:
            raise RuntimeError("the producer has ended with an error")
        if second % SAMPLE_S == 0:
            made = sampler.sample()
            if second % (12 * SAMPLE_S) == 0:
                click.echo(_progress(second // 60, made), err=True)
            yield made


def _progress(minute: int, made: Sample) -> str:
    return (
        f"  {minute:3} min: {made.ended:,} of {made.enqueued:,} ended, {made.calls_per_s:.0f} calls/s,"
        f" median {made.latency_median:.1f} ms, p99 {made.latency_p99:.1f} ms,"
        f" workers {made.worker_1_rss:.1f} and {made.worker_2_rss:.1f} MiB"
    )


def _await_end(book: Book, calls: _Calls) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not book.is_over:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{book.enqueued - book.ended} jobs have not ended after {_PATIENCE_S} s")
        time.sleep(0.2)
        calls.look()
        book.settle()
    calls.look()


def _family(key: bytes) -> str:
    if key.startswith(b"streamstop."):
        return "under way" if key.startswith(_QUEUES) or key.endswith(_OF_JOBS) else "standing"
    return "outcomes" if key.startswith(b"celery-task-meta-") else "other"


def _rss(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _warnings(logs: Sequence[Path]) -> Counter[str]:
    """Count the workers' log events at warning or above. It reads line by line, because the log of an hour is long."""
    counted: Counter[str] = Counter()
    for log in logs:
        with log.open(errors="replace") as lines:
            for line in lines:
                if '"level": "info"' not in line and line.startswith("{"):
                    entry = json.loads(line)
                    counted[f"{entry.get('level')}: {entry.get('event')}"] += 1
    return counted
