"""Serving: the HTTP service with a thousand clients that wait, while others enqueue.

The clients are in a process of their own (:mod:`tests.bench.serving_load`). No worker runs, so that Redis, the service
and the clients have the machine to themselves. Once a second a stream task joins each shutdown that is followed by
streams, so that each stream is sent an event.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from streamstop import Client, Command
from streamstop.operations import StopMPUTask
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench.metering import cpu_seconds, read
from tests.bench.results import Section, Target
from tests.bench.serving_load import Figures, Load
from tests.support.http_service import http_service

#: How many shutdowns are followed by streams, and how many by long polls.
_STREAMED, _POLLED = 5, 50
_LONGEST_P99_MS = 100.0
#: How much the service's memory may grow from the first third of the time to the end, in MiB.
_GROWTH_MIB = 8.0
#: The cores that the goal is for.
_PROCESSES = 2
_ENVIRON = {"STREAMSTOP_LOG_LEVEL": "WARNING"}


@dataclass(frozen=True)
class Run:
    """What was measured."""

    waiting: int
    asked_rate: int
    rate: float
    failed: int
    p50_ms: float
    p99_ms: float
    #: Shares of one core.
    service_cpu: float
    redis_cpu: float
    clients_cpu: float
    #: The service's memory in MiB: without clients, with those that wait, after a third of the time, and at its end.
    memory_idle: float
    memory_waiting: float
    memory_third: float
    memory_end: float
    threads: int
    #: What streams were sent.
    events_a_second: float
    poll_answers: int
    lost: int


def measure(waiting: int, rate: int, seconds: float) -> Section:
    """Measure the service with so many clients that wait, and commands a second, for so long."""
    run = _run(waiting, rate, seconds)
    memory = f"{run.memory_idle:.0f}, {run.memory_waiting:.0f}, {run.memory_end:.0f}"
    return Section(
        name="http",
        text=(
            f"{_PROCESSES} processes of the HTTP service, {waiting:,} clients that wait (two in five by streams of a "
            f"shutdown, one in ten by a stream of the events, half by long polls), and {rate} commands a second for "
            f"{seconds:g} s, each in a request of its own. Latency is from the moment at which a command was due, to "
            "its answer."
        ),
        header=[
            "",
            "commands/s",
            "p50 (ms)",
            "p99 (ms)",
            "service, of a core",
            "Redis",
            "clients",
            "memory: idle, waiting, end (MiB)",
            "threads",
            "events sent/s",
        ],
        rows=[
            [
                f"{waiting:,} waiting",
                f"{run.rate:.0f}",
                f"{run.p50_ms:.1f}",
                f"{run.p99_ms:.1f}",
                f"{run.service_cpu:.0%}",
                f"{run.redis_cpu:.0%}",
                f"{run.clients_cpu:.0%}",
                memory,
                f"{run.threads}",
                f"{run.events_a_second:.0f}",
            ]
        ],
        targets=list(_targets(run)),
        figures=[asdict(run)],
    )


def _targets(run: Run) -> Iterator[Target]:
    beside = f"{run.waiting:,} clients wait"
    rate, growth = f"{run.rate:.0f}/s", run.memory_end - run.memory_third
    right = run.failed == run.lost == 0
    yield Target(f"{beside}: {run.asked_rate} commands a second", run.rate >= run.asked_rate * 0.98, rate)
    yield Target(f"{beside}: p99 of a command", run.p99_ms <= _LONGEST_P99_MS, f"{run.p99_ms:.1f} ms")
    yield Target(f"{beside}: no request fails", right, f"{run.failed} failed, {run.lost} connections lost")
    yield Target(f"{beside}: memory stays flat", growth <= _GROWTH_MIB, f"{growth:+.1f} MiB")


def _run(waiting: int, rate: int, seconds: float) -> Run:
    with (
        TemporaryDirectory(prefix="streamstop-bench-") as folder,
        redis_server() as redis,
        redis.client() as meter,
        Client(redis.url) as client,
        http_service(redis.url, Path(folder), "--processes", f"{_PROCESSES}", environ=_ENVIRON) as service,
    ):
        rooms = [f"room-{number}" for number in range(_STREAMED + _POLLED)]
        shutdowns = [client.stop_room(room, [_stop(room)]).id for room in rooms]
        events, streams = waiting // 10, waiting * 2 // 5
        load = Load(
            port=int(service.url.rpartition(":")[2]),
            token=service.tokens["everything"],
            streamed=shutdowns[:_STREAMED],
            polled=shutdowns[_STREAMED:],
            streams=streams,
            polls=waiting - streams - events,
            event_streams=events,
            rate=rate,
            seconds=seconds,
        )
        pids = _children(service.process.pid)
        idle = _memory_mib(pids)
        with _clients(load) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            if clients.stdout.readline() != "connected\n":
                raise RuntimeError(f"the clients could not connect: {service.text()[-2000:]}")
            waiting_mib = _memory_mib(pids)
            before, own = read(meter, pids), cpu_seconds([clients.pid]) or 0.0
            clients.stdin.write("go\n")
            clients.stdin.flush()
            third = _joining(client, rooms[:_STREAMED], pids, seconds, clients.stdout)
            figures = Figures(**json.loads(third.answer))
            cost, threads = read(meter, pids).since(before), _threads(pids)
            spent = (cpu_seconds([clients.pid]) or own) - own
            ordered = sorted(figures.latencies_s)
            return Run(
                waiting=waiting,
                asked_rate=rate,
                rate=len(ordered) / figures.span_s,
                failed=figures.failed,
                p50_ms=_percentile_ms(ordered, 50),
                p99_ms=_percentile_ms(ordered, 99),
                service_cpu=(cost.cpu_s or 0) / figures.span_s,
                redis_cpu=cost.redis_cpu_s / figures.span_s,
                clients_cpu=spent / figures.span_s,
                memory_idle=idle,
                memory_waiting=waiting_mib,
                memory_third=third.memory_mib,
                memory_end=_memory_mib(pids),
                threads=threads,
                events_a_second=figures.stream_events / figures.span_s,
                poll_answers=figures.poll_answers,
                lost=figures.lost,
            )


@dataclass
class _During:
    """What was seen while commands were enqueued: the memory after a third of the time, and what the clients print."""

    memory_mib: float
    answer: str


def _joining(client: Client, rooms: Sequence[str], pids: Sequence[int], seconds: float, output: IO[str]) -> _During:
    """Let a stream task join each room once a second, until the clients print their figures."""
    ended, seen = threading.Event(), _During(0.0, "")

    def join() -> None:
        number = 0
        while not ended.wait(1.0):
            number += 1
            for room in rooms:
                client.register_many(room, [_stop(f"{room}-{number}")])
            if number >= seconds / 3 and not seen.memory_mib:
                seen.memory_mib = _memory_mib(pids)

    thread = threading.Thread(target=join)
    thread.start()
    try:
        seen.answer = output.readline()
    finally:
        ended.set()
        thread.join()
    return seen


@contextmanager
def _clients(load: Load) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.bench.serving_load"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdin is not None
        try:
            clients.stdin.write(json.dumps(asdict(load)) + "\n")
            clients.stdin.flush()
            yield clients
        finally:
            clients.kill()


def _stop(task: str) -> Command:
    return Command(operation=StopMPUTask(app_id="bench", task_id=task), account="live")


def _percentile_ms(ordered: Sequence[float], percentile: int) -> float:
    return ordered[-(-len(ordered) * percentile // 100) - 1] * 1000


def _children(pid: int) -> list[int]:
    """Return the processes that serve."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _memory_mib(pids: Sequence[int]) -> float:
    """Return the resident memory of processes."""
    return _status(pids, "VmRSS") / 1024


def _threads(pids: Sequence[int]) -> int:
    return _status(pids, "Threads")


def _status(pids: Sequence[int], name: str) -> int:
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
