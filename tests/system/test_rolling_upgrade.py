"""The upgrade from the version before: old workers are stopped, new ones start, and nothing that was accepted is lost.

Workers of the two versions do not work side by side. Producers of the old one go on, and reach the new workers.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from streamstop import Outcome, Result
from streamstop.lanes import Lane, LaneView
from streamstop.lanes.names import READY
from streamstop.operations import StopMPUTask
from streamstop_simulator.journal import Call
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.previous import SAYS_WHERE, NoHistory, Version, present_version, previous_version, write_says_where
from tests.support.workers import WorkerProcess, worker
from tests.support.world import World, world

TIMEOUT = 60
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
#: Calls of a lane that a busy machine may bring to the vendor a quarter of a second late, and so among the next ones.
#: Whether any second has more calls than the limit is for the benchmark to say, on a machine that does nothing else.
LATE_CALLS = LIMIT // 4
ENVIRON = {
    # A killed worker's calls are made again after the call's time and five seconds.
    "STREAMSTOP_CALL_TIMEOUT": "2",
    "STREAMSTOP_VERIFY_TIMEOUT": "2",
}
#: A stop that a worker died with is called once more.
STOPPED = {Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND}
#: A verified shutdown's ends are in their words.
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
        said = [outcome.result.value for outcome in client.outcomes(list(map(client.job, word.split(","))), 60)]
    print(*said, flush=True)
"""


class Producer:
    """A running service."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def hear(self) -> str:
        """Return the next line that it says."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip()

    def ask(self, action: str, word: str, *, first: int = 0, number: int = 1) -> list[str]:
        """Let it enqueue or register tasks, stop a room or wait for outcomes; return the ids or results it says."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{action} {word} {first} {number}\n")
        self._process.stdin.flush()
        return self.hear().split()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Version]:
    """Return both versions' code."""
    return {"old": previous_version(tmp_path_factory.mktemp("previous")), "new": present_version()}


@dataclass
class Fleet:
    """A world whose workers and producers are of either version."""

    world: World
    versions: dict[str, Version]
    stack: ExitStack
    workers: list[tuple[str, WorkerProcess]] = field(default_factory=list)

    def start(self, version: str) -> WorkerProcess:
        """Start a worker, and see that it runs the code that it is to run."""
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
        """Run a producer, and see that it runs the code that it is to run."""
        with subprocess.Popen(
            [sys.executable, "-c", PRODUCER, self.world.server.url],
            env={**os.environ, **self.versions[version].environ},
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
        """Return the outcome of every job, and see that each has one and no worker told two ends of it."""
        assert len(set(ids)) == len(ids)
        outcomes = list(self.world.client.outcomes([self.world.client.job(one) for one in ids], timeout=TIMEOUT))
        assert Counter(outcome.job_id for outcome in outcomes) == Counter(ids)
        told = sum((ends_told(one) for _, one in self.workers), Counter[str]())
        assert {told[one] for one in ids} <= {0, 1}, "a worker that is killed may have had no time to tell"
        return outcomes

    def assert_one_pace(self) -> None:
        """No lane was called faster than one pace for both versions allows; two paces would be twice as fast."""
        lanes = self.world.simulator.summary().lanes
        assert len(lanes) >= 4
        for lane, seen in lanes.items():
            assert 0 < seen.most_in_a_second <= LIMIT + LATE_CALLS, lane


@pytest.fixture
def fleet(versions: dict[str, Version], tmp_path: Path) -> Iterator[Fleet]:
    """Return a world without workers, and the means to start those of either version."""
    write_says_where(tmp_path)
    with world(tmp_path, workers=0, limits=LIMITS) as made, ExitStack() as stack:
        made.simulator.settings(auto_start=True, latency_ms=30)
        for account in DEFAULT_ACCOUNTS:
            for operation in LIMITS:
                if operation.startswith("trtc.") == (account.vendor == "tencent"):
                    # The vendor counts, and drops nothing: that would change how often a job is called.
                    made.simulator.set_limit(account.name, operation, 10 * LIMIT)
        yield Fleet(made, versions, stack)


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"not {what} within {TIMEOUT} s"
        time.sleep(0.02)


def ends_told(one: WorkerProcess) -> Counter[str]:
    """Return the ids of the jobs whose end a worker has logged, to how often."""
    results = {result.value for result in Result}
    return Counter(line["job_id"] for line in one.lines() if line.get("event") in results and "params" in line)


def lanes_of(fleet: Fleet) -> list[LaneView]:
    """Return what every lane holds that the producers use."""
    names = {(account, operation) for account, operation in fleet.world.simulator.summary().lanes}
    return fleet.world.client.connections.lanes.views([Lane(*name) for name in sorted(names)])


def admitted(fleet: Fleet) -> int:
    """Return how many jobs lie in the queue from which workers of the old version took them."""
    return sum(fleet.world.redis.llen(key) for key in (READY, f"{READY}\x06\x163"))


def spoil(fleet: Fleet, word: str, numbers: Iterable[int]) -> None:
    """Let some of the tasks that the producer enqueues under `word` meet three faults each."""
    for number in numbers:
        task = StopMPUTask(app_id="a", task_id=f"{word}-{number}").params
        fleet.world.simulator.add_fault("500", account="demo-aliyun-1", task=task, times=3)


@pytest.mark.parametrize("stopped", ["SIGTERM", "SIGKILL"])
def test_new_workers_take_over_all_that_stopped_old_ones_leave(fleet: Fleet, stopped: str) -> None:
    with fleet.producer("old") as old, fleet.producer("new") as new:
        spoil(fleet, "backlog", range(8, 200, 16))
        old_workers = [fleet.start("old"), fleet.start("old")]
        old.ask("register", "room", number=80)
        ids = old.ask("enqueue", "backlog", number=600)
        (shutdown_id,) = old.ask("stop", "room")
        shutdown = fleet.world.client.shutdown(shutdown_id)
        eventually(lambda: all(ends_told(one).total() >= 30 for one in old_workers), "each with a share done")
        eventually(lambda: sum(view.deferred for view in lanes_of(fleet)) >= 3, "jobs deferred")
        for one in old_workers:
            one.signal(getattr(signal, stopped))
        for one in old_workers:
            one.process.wait(30)
        ids += old.ask("enqueue", "between", number=40)
        left = lanes_of(fleet)
        assert sum(view.waiting for view in left) > 100, "there is a backlog"
        assert sum(view.deferred for view in left) > 0, "there are deferred jobs"
        assert admitted(fleet) > 0, "jobs lie in the old workers' queue"
        assert not shutdown.progress().done_at, "the shutdown is open"

        new_workers = [fleet.start("new"), fleet.start("new")]
        assert {account.name for account in DEFAULT_ACCOUNTS} == set(
            fleet.world.client.connections.known_accounts.vendors()
        )
        with fleet.load("old", "still") as still, fleet.load("new", "anew") as anew:
            eventually(lambda: all(ends_told(one).total() >= 60 for one in new_workers), "in work")
            late_ids = old.ask("enqueue", "late", number=40)
            assert {Result(word) for word in old.ask("outcomes", ",".join(late_ids))} == {Result.STOPPED}
            old.ask("register", "later-room", first=1000, number=20)
            later = fleet.world.client.shutdown(*old.ask("stop", "later-room"))
            mine = new.ask("enqueue", "mine", number=20)
            assert {Result(word) for word in new.ask("outcomes", ",".join(mine))} == {Result.STOPPED}

        outcomes = fleet.outcomes([*ids, *still, *anew, *late_ids, *mine])
        assert {outcome.result for outcome in outcomes} <= STOPPED
        for told, total in ((shutdown, 80), (later, 20)):
            progress = told.wait(TIMEOUT)
            ends = list(told.outcomes())
            assert progress.total == progress.ended == len(ends) == total
            assert len({outcome.job_id for outcome in ends}) == total
            assert Counter(outcome.result for outcome in ends) == dict(progress.results)
            assert set(progress.results) <= VERIFIED
            assert sum(lane.total for lane in progress.lanes) == sum(lane.ended for lane in progress.lanes) == total
    fleet.assert_one_pace()
    assert fleet.world.client.connections.lanes.dead() == 0
    eventually(lambda: admitted(fleet) == 0, "the old workers' queue empty")
    eventually(lambda: all(view.in_flight == view.waiting == view.deferred == 0 for view in lanes_of(fleet)), "empty")
    if stopped == "SIGTERM":
        assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
        called = Counter(call.params["TaskId"] for call in stops_that_went_well(fleet))
        assert set(called.values()) == {1}, "a worker that is told to stop finishes its calls, and none is made twice"


def stops_that_went_well(fleet: Fleet) -> list[Call]:
    return [call for call in fleet.world.simulator.calls() if ".Stop" in (call.operation or "") and call.answer == "ok"]


def test_an_old_producer_takes_no_job_that_a_new_worker_has_put_back(fleet: Fleet) -> None:
    lane = Lane("demo-aliyun-1", "live.StopMPUTask")
    task = StopMPUTask(app_id="a", task_id="first-0").params
    fleet.world.simulator.add_fault("throttle", account=lane.account, task=task, retry_after=timedelta(seconds=1))
    with fleet.producer("old") as old:
        ids = old.ask("enqueue", "first")
        assert admitted(fleet) == 1, "a lane without a pace: it was admitted to old workers"
        worker = fleet.start("new")
        worker.await_line("throttled: the lane rests")
        assert worker.stop() == 0

        def view() -> LaneView:
            return fleet.world.client.connections.lanes.view(lane)

        assert view().waiting == 1
        eventually(lambda: not view().rest, "the rest over")
        ids += old.ask("enqueue", "second")
        assert (view().waiting, admitted(fleet)) == (2, 0)
    assert fleet.world.client.connections.lanes.dead() == 0
    fleet.start("new")
    assert [(outcome.result, outcome.calls) for outcome in sorted(fleet.outcomes(ids), key=lambda one: -one.calls)] == [
        (Result.STOPPED, 2),
        (Result.STOPPED, 1),
    ]


def test_without_history_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_PREVIOUS", "no-such-revision")
    with pytest.raises(NoHistory, match="git fetch --unshallow"):
        previous_version(tmp_path)
