"""The scenario of every way: busy accounts with a backlog each, and one account that sends a stop at intervals.

A way is measured from outside: by the calls' arrivals at the vendor, Redis' own counters, and the processes' CPU time.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Protocol

from redis import Redis

from streamstop.operations.aliyun import StopMPUTask
from streamstop_simulator import Call, SimulatorClient, run_in_process
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from streamstop_worker.accounts import Account
from tests.bench.metering import Reading, machine, read
from tests.support.accounts import at_vendors

WORKERS = 2
#: The threads of each plain Celery worker. streamstop's workers run with their default concurrency.
THREADS = 16
VENDOR_LATENCY_MS = 50
#: The limit of each lane in calls per second: the vendor's for :class:`StopMPUTask`.
LIMIT = int(StopMPUTask.spec.limit)
SEND_EVERY_S = 0.95
SPARSE = "sparse"
#: How long idle workers are measured, for their cost without a job.
_IDLE_S = 5
#: How long a job's report may take after its last call.
_REPORTS_S = 0.5
_PATIENCE = 6


@dataclass(frozen=True)
class Scenario:
    """The load of a scenario."""

    busy_accounts: int = 1
    #: Stops that wait for each busy account at the start.
    backlog: int = 300

    @property
    def ideal_s(self) -> float:
        """The shortest possible time from a busy account's first call to its last."""
        return (self.backlog - 1) / LIMIT

    @property
    def busy(self) -> list[str]:
        """The busy accounts' names."""
        return [f"busy-{number}" for number in range(1, self.busy_accounts + 1)]

    @property
    def accounts(self) -> list[Account]:
        """All accounts, with credentials that only the simulator knows."""
        return [Account(name, "aliyun", f"key-{name}", f"secret-{name}") for name in [*self.busy, SPARSE]]


class Running(Protocol):
    """A way whose workers run."""

    @property
    def worker_pids(self) -> Sequence[int]:
        """Its worker processes."""
        ...

    def send(self, account: str, stops: Sequence[StopMPUTask]) -> None:
        """Enqueue."""
        ...


class Way(Protocol):
    """A way to send stops to a vendor at an account's limit."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    def run(
        self, redis: RedisServer, vendor_url: str, scenario: Scenario, folder: Path
    ) -> AbstractContextManager[Running]:
        """Run the workers until the block ends."""
        ...


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    way: str
    machine: str
    ideal_s: float
    #: The time from a busy account's first call to its last, of the slowest account.
    span_s: float
    #: The most calls of a busy account in any one second, of the worst account.
    most_in_a_second: int
    #: The sparse account's latencies, from before the enqueueing to the call's arrival.
    latencies_ms: Sequence[float]
    jobs: int
    cost: Reading
    #: The workers' cost in the same time without a job.
    idle_commands: float
    idle_cpu_s: float | None
    duration_s: float

    @property
    def commands_per_job(self) -> float:
        """All commands that Redis ran, per job."""
        return self.cost.commands / self.jobs

    @property
    def commands_per_job_above_idle(self) -> float:
        """Redis commands per job, without those of idle workers in the same time."""
        return (self.cost.commands - self.idle_commands) / self.jobs

    @property
    def cpu_s_per_1000(self) -> float | None:
        """CPU seconds of all workers per 1,000 jobs."""
        return None if self.cost.cpu_s is None else self.cost.cpu_s / self.jobs * 1000

    @property
    def cpu_s_per_1000_above_idle(self) -> float | None:
        """The same, without that of idle workers in the same time."""
        if self.cost.cpu_s is None or self.idle_cpu_s is None:
            return None
        return (self.cost.cpu_s - self.idle_cpu_s) / self.jobs * 1000

    @property
    def latency_median_ms(self) -> float:
        """The median latency of the sparse account."""
        return median(self.latencies_ms)

    def latency_ms(self, percentile: int) -> float:
        """Return a percentile of the sparse account's latencies: of n, the ceil(n x p / 100)-th."""
        ordered = sorted(self.latencies_ms)
        return ordered[-(-len(ordered) * percentile // 100) - 1]


def pooled(rounds: Sequence[Figures]) -> Figures:
    """Merge several runs of one way: all latencies and costs, the median time, the worst second."""
    costs = [one.cost for one in rounds]
    names = {name for cost in costs for name in cost.by_command}
    return replace(
        rounds[0],
        span_s=median(one.span_s for one in rounds),
        most_in_a_second=max(one.most_in_a_second for one in rounds),
        latencies_ms=[latency for one in rounds for latency in one.latencies_ms],
        jobs=sum(one.jobs for one in rounds),
        cost=Reading(
            commands=sum(cost.commands for cost in costs),
            by_command={name: sum(cost.by_command.get(name, 0) for cost in costs) for name in names},
            cpu_s=_sum(cost.cpu_s for cost in costs),
            redis_cpu_s=sum(cost.redis_cpu_s for cost in costs),
        ),
        idle_commands=sum(one.idle_commands for one in rounds),
        idle_cpu_s=_sum(one.idle_cpu_s for one in rounds),
        duration_s=sum(one.duration_s for one in rounds),
    )


def _sum(numbers: Iterable[float | None]) -> float | None:
    known = list(numbers)
    return None if None in known else sum(number or 0 for number in known)


def measure(way: Way, scenario: Scenario) -> Figures:
    """Run `scenario` once, on its own Redis and simulator."""
    with (
        TemporaryDirectory(prefix="streamstop-bench-") as made,
        redis_server() as redis,
        _vendor(scenario) as vendor,
        way.run(redis, vendor.url, scenario, Path(made)) as running,
        redis.client() as meter,
    ):
        tasks = (StopMPUTask(app_id="bench", task_id=f"task-{number}") for number in count(1))
        # The first calls open connections and load scripts, which is not measured.
        for name in [*scenario.busy, SPARSE]:
            running.send(name, [next(tasks) for _ in range(3)])
        _await_calls(vendor, 3 * len(scenario.accounts), patience_s=60)
        time.sleep(1)
        idle = _idle(meter, running)
        vendor.forget_calls()

        before, began_at = read(meter, running.worker_pids), time.time()
        for name in scenario.busy:
            running.send(name, [next(tasks) for _ in range(scenario.backlog)])
        sent_at = _send_until_done(running, vendor, scenario, tasks)
        time.sleep(_REPORTS_S)
        cost, duration_s = read(meter, running.worker_pids).since(before), time.time() - began_at
        calls = [call for call in vendor.calls() if call.answer == "ok"]
        summary = vendor.summary()
        described = machine(meter)
    jobs = scenario.backlog * scenario.busy_accounts + len(sent_at)
    if len(calls) != jobs:
        raise RuntimeError(f"{way.name}: {len(calls)} calls for {jobs} jobs")
    share = duration_s / _IDLE_S
    return Figures(
        way=way.name,
        machine=described,
        ideal_s=scenario.ideal_s,
        span_s=max(_span_s(calls, name) for name in scenario.busy),
        most_in_a_second=max(
            lane.most_in_a_second for (name, _), lane in summary.lanes.items() if name in scenario.busy
        ),
        latencies_ms=[
            (call.arrived_at - sent_at[call.params["TaskId"]]) * 1000 for call in calls if call.account == SPARSE
        ],
        jobs=jobs,
        cost=cost,
        idle_commands=idle.commands * share,
        idle_cpu_s=None if idle.cpu_s is None else idle.cpu_s * share,
        duration_s=duration_s,
    )


@contextmanager
def _vendor(scenario: Scenario) -> Iterator[SimulatorClient]:
    with run_in_process() as vendor:
        vendor.settings(latency_ms=VENDOR_LATENCY_MS, auto_start=True)
        vendor.add_accounts(at_vendors(scenario.accounts))
        yield vendor


def _idle(meter: Redis, running: Running) -> Reading:
    before = read(meter, running.worker_pids)
    time.sleep(_IDLE_S)
    return read(meter, running.worker_pids).since(before)


def _send_until_done(
    running: Running, vendor: SimulatorClient, scenario: Scenario, tasks: Iterator[StopMPUTask]
) -> dict[str, float]:
    """Send the sparse account's stops until the backlogs are done; return when each was sent."""
    sent_at: dict[str, float] = {}
    deadline = time.monotonic() + max(scenario.ideal_s, 5) * _PATIENCE
    due = time.monotonic()
    while time.monotonic() < deadline:
        stop = next(tasks)
        sent_at[stop.task_id] = time.time()
        running.send(SPARSE, [stop])
        time.sleep(SEND_EVERY_S * 0.6)
        # Ask between two stops, so that the simulator's answer delays none of them.
        lanes = vendor.summary().lanes
        done = sum(lane.ok for (name, _), lane in lanes.items() if name in scenario.busy)
        if done == scenario.backlog * scenario.busy_accounts:
            _await_calls(vendor, done + len(sent_at), patience_s=60)
            return sent_at
        due += SEND_EVERY_S
        time.sleep(max(0.0, due - time.monotonic()))
    raise RuntimeError(f"the backlogs were not done after {_PATIENCE} times the ideal span")


def _await_calls(vendor: SimulatorClient, wanted: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while sum(lane.ok for lane in vendor.summary().lanes.values()) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"fewer than {wanted} calls after {patience_s:g} s")
        time.sleep(0.1)


def _span_s(calls: Sequence[Call], account: str) -> float:
    arrivals = [call.arrived_at for call in calls if call.account == account]
    return max(arrivals) - min(arrivals)
