"""Workers and producers of two versions on one Redis, which call the simulated vendors."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from streamstop import Outcome, Result
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView
from streamstop.operations import StopMPUTask
from streamstop.shutdowns import Shutdown
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.polling import eventually
from tests.support.rates import assert_one_pace
from tests.support.versions import SAYS_WHERE, Version, write_says_where
from tests.support.workers import WorkerProcess, worker
from tests.support.world import World, world

TIMEOUT = 120
LIMIT = 40
LIMITS = dict.fromkeys(
    (
        "live.StopMPUTask",
        "rtc.StopMPUTask",
        "rtc.GetMPUTaskStatus",
        "trtc.StopStreamIngest",
        "trtc.DescribeStreamIngest",
    ),
    float(LIMIT),
)
ENVIRON = {"STREAMSTOP_VERIFY_TIMEOUT": "2"}
#: How long vendors take to answer, and how long they take while they hold the lanes: each then carries out a tenth of
#: its limit or so, and no call comes to its timeout.
LATENCY_MS, HOLDING_MS = 30, 4000
#: How a verified shutdown's tasks end.
VERIFIED = {Result.VERIFIED, Result.NOT_FOUND}

#: A service: it says which code it runs, and then does what each line of its input says. It answers with a line.
PRODUCER = """
import sys, streamstop
from streamstop import Client, Command
from streamstop.operations import RtcStopMPUTask, StopMPUTask, StopStreamIngest

print("runs", streamstop.__file__, flush=True)
client = Client(sys.argv[1])
ROOM = [(RtcStopMPUTask, "demo-aliyun-2", {"app_id": "a"}), (StopStreamIngest, "demo-tencent", {"sdk_app_id": 2})]
LANES = [(StopMPUTask, "demo-aliyun-1", {"app_id": "a"}), *ROOM, (StopMPUTask, "demo-aliyun-2", {"app_id": "a"})]

def commands(numbers, kinds):
    for n in numbers:
        kind, account, app = kinds[n % len(kinds)]
        yield Command(operation=kind(task_id=f"{word}-{n}", **app), account=account)

for line in sys.stdin:
    action, word, first, number = line.split()
    numbers = range(int(first), int(first) + int(number))
    said = []
    if action == "enqueue":
        said = [job.id for job in client.enqueue_many(commands(numbers, LANES))]
    elif action == "register":
        client.register_many(word, commands(numbers, ROOM))
    elif action == "stop":
        said = [client.stop_room(word, verify=True).id]
    elif action == "outcomes":
        said = [outcome.result.value for outcome in client.outcomes(list(map(client.job, word.split(","))), 120)]
    print(*said, flush=True)
"""


class Producer:
    """A running service."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def hear(self) -> str:
        """Return the next line of its output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip()

    def ask(self, action: str, word: str, *, first: int = 0, number: int = 1) -> list[str]:
        """Let it enqueue or register tasks, stop a room or wait for outcomes; return the printed ids or results."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{action} {word} {first} {number}\n")
        self._process.stdin.flush()
        return self.hear().split()


@dataclass
class Fleet:
    """A world whose workers and producers are of either version."""

    world: World
    versions: dict[str, Version]
    stack: ExitStack
    workers: list[tuple[str, WorkerProcess]] = field(default_factory=list)

    def start(self, version: str) -> WorkerProcess:
        """Start a worker, and check that it runs its version's code."""
        made = self.stack.enter_context(
            worker(
                self.world.server.url,
                self.world.accounts,
                "--include",
                SAYS_WHERE,
                folder=self.world.folder,
                environ={**ENVIRON, **self.versions[version].environ},
                name=f"{version}{len(self.workers)}",
            )
        )
        made.await_line(self.versions[version].says)
        self.workers.append((version, made))
        return made

    @contextmanager
    def producer(self, version: str) -> Iterator[Producer]:
        """Run a producer, and check that it runs its version's code."""
        with subprocess.Popen(
            [sys.executable, "-c", PRODUCER, self.world.server.url],
            env={**os.environ, **self.versions[version].environ, "STREAMSTOP_REDIS_TIMEOUT": str(TIMEOUT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                made = Producer(process)
                assert made.hear() == f"runs {self.versions[version].folder}/producers/streamstop/__init__.py"
                yield made
            finally:
                process.kill()

    @contextmanager
    def load(self, version: str, word: str) -> Iterator[list[str]]:
        """Let a producer enqueue at an even pace for the block; the ids of its jobs are in the list after it."""
        ids: list[str] = []
        over = threading.Event()

        def enqueue(producer: Producer) -> None:
            for n in count():
                ids.extend(producer.ask("enqueue", word, first=n))
                if over.wait(0.012):
                    return

        with self.producer(version) as producer, ThreadPoolExecutor(1) as thread:
            enqueueing = thread.submit(enqueue, producer)
            try:
                yield ids
            finally:
                over.set()
            enqueueing.result(TIMEOUT)

    def outcomes(self, ids: Sequence[str]) -> list[Outcome]:
        """Return the outcome of every job; check that each has one, and that the workers logged one end."""
        assert len(set(ids)) == len(ids)
        outcomes = list(self.world.client.outcomes([self.world.client.job(one) for one in ids], timeout=TIMEOUT))
        assert Counter(outcome.job_id for outcome in outcomes) == Counter(ids)
        results = sum((ends_told(one) for _, one in self.workers), Counter[str]())
        assert {results[one] for one in ids} <= {0, 1}, "a worker that is killed may have had no time to tell"
        return outcomes

    def assert_complete(self, shutdown: Shutdown, total: int) -> None:
        """Wait for a verified shutdown, and check that it ended each task once and that its counts are right."""
        progress = shutdown.wait(TIMEOUT)
        ends = list(shutdown.outcomes())
        assert progress.total == progress.ended == len(ends) == total
        assert len({outcome.job_id for outcome in ends}) == total
        assert Counter(outcome.result for outcome in ends) == dict(progress.results)
        assert set(progress.results) <= VERIFIED
        assert sum(lane.total for lane in progress.lanes) == sum(lane.ended for lane in progress.lanes) == total

    def lanes(self) -> list[LaneView]:
        """Return the views of every lane that was called."""
        names = sorted(self.world.simulator.summary().lanes)
        return self.world.client.lanes([Lane(*name) for name in names])

    def spoil(self, word: str, numbers: Iterable[int]) -> None:
        """Let some of the tasks that a producer enqueues under `word` meet three faults each."""
        for number in numbers:
            task = StopMPUTask(app_id="a", task_id=f"{word}-{number}").params
            self.world.simulator.add_fault("500", account="demo-aliyun-1", task=task, times=3)

    def assert_drained(self) -> None:
        """Check that no job waits or is under way, and that there are no dead letters."""
        eventually(lambda: all(one.in_flight == one.waiting == one.deferred == 0 for one in self.lanes()), "empty")
        assert self.world.client.dead_letters.count() == 0

    def assert_each_stopped_once(self) -> None:
        """Check that the vendors carried out one stop per task: no worker was killed, so none is repeated."""
        stops = [
            call for call in self.world.simulator.calls() if ".Stop" in (call.operation or "") and call.answer == "ok"
        ]
        assert set(Counter(call.params["TaskId"] for call in stops).values()) == {1}

    def assert_one_pace(self) -> None:
        """Check that both versions share one pace for each lane."""
        lanes = self.world.simulator.summary().lanes
        assert len(lanes) >= 4
        for lane in lanes:
            assert_one_pace(self.world.simulator.calls(*lane), LIMIT)

    @contextmanager
    def held_lanes(self) -> Iterator[None]:
        """Let the vendors be so slow during the block that a backlog stays, whatever stands still for some seconds."""
        self.world.simulator.settings(latency_ms=HOLDING_MS)
        yield
        self.world.simulator.settings(latency_ms=LATENCY_MS)


@contextmanager
def mixed_fleet(versions: dict[str, Version], folder: Path) -> Iterator[Fleet]:
    """Make a world without workers, and the means to start those of either version."""
    write_says_where(folder)
    with world(folder, workers=0, limits=LIMITS) as made, ExitStack() as stack:
        made.simulator.settings(auto_start=True, latency_ms=LATENCY_MS)
        for account in DEFAULT_ACCOUNTS:
            for operation in LIMITS:
                if operation.startswith("trtc.") == (account.vendor == "tencent"):
                    # The vendor counts, and drops nothing: that would change how often a job is called.
                    made.simulator.set_limit(account.name, operation, 10 * LIMIT)
        yield Fleet(made, versions, stack)


def ends_told(one: WorkerProcess) -> Counter[str]:
    """Count the ends that a worker has logged, by job id."""
    results = {result.value for result in Result}
    return Counter(line["job_id"] for line in one.lines() if line.get("event") in results and "params" in line)
