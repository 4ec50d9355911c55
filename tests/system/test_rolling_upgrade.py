"""This version and the one before it work side by side: on one Redis, in either order, while workers go and come."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from streamstop import Outcome, Result
from streamstop_worker.simulator import DEFAULT_ACCOUNTS
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
        client.register_many("room", commands(numbers, ROOM))
    else:
        said = [client.stop_room("room", verify=True).id]
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
        """Let it enqueue or register tasks, or stop the room; return the ids that it says."""
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


def calls(fleet: Fleet) -> int:
    return fleet.world.simulator.summary().calls


@pytest.mark.parametrize(("killed", "closing"), [("old", "new"), ("new", "old")])
def test_old_and_new_share_the_work_and_either_takes_over_from_the_other(
    fleet: Fleet, killed: str, closing: str
) -> None:
    fleet.start("old")
    fleet.start("new")
    assert {account.name for account in DEFAULT_ACCOUNTS} == set(
        fleet.world.client.connections.known_accounts.vendors()
    ), "both have told producers of the same accounts"
    with fleet.producer("old") as old, fleet.producer("new") as new:
        old.ask("register", "of-old", number=40)
        new.ask("register", "of-new", number=40)
        ids = [*old.ask("enqueue", "by-old", number=300), *new.ask("enqueue", "by-new", number=300)]
        (shutdown_id,) = {"old": old, "new": new}[closing].ask("stop", "room")
    shutdown = fleet.world.client.shutdown(shutdown_id)

    first = dict(fleet.workers)
    eventually(lambda: all(ends_told(one).total() >= 30 for one in first.values()), "each with a share done")
    first[killed].kill()
    assert not shutdown.progress().done_at, "it was killed in the middle"
    fleet.start(killed)

    assert {outcome.result for outcome in fleet.outcomes(ids)} <= STOPPED
    progress = shutdown.wait(TIMEOUT)
    ends = list(shutdown.outcomes())
    assert progress.total == progress.ended == len(ends) == 80
    assert len({outcome.job_id for outcome in ends}) == 80
    assert Counter(outcome.result for outcome in ends) == dict(progress.results)
    assert set(progress.results) <= VERIFIED
    assert sum(lane.total for lane in progress.lanes) == sum(lane.ended for lane in progress.lanes) == 80
    fleet.assert_one_pace()


def test_workers_are_replaced_one_by_one_under_load_and_then_rolled_back(fleet: Fleet) -> None:
    serving = [fleet.start("old"), fleet.start("old")]

    def replace_all(version: str) -> None:
        for place, leaving in enumerate(list(serving)):
            assert leaving.stop() == 0
            serving[place] = fleet.start(version)
            eventually(lambda now=serving[place]: ends_told(now).total() >= 20, "in work")  # type: ignore[misc]
            other = serving[1 - place]
            before = ends_told(other).total()
            eventually(lambda now=other, n=before: ends_told(now).total() >= n + 10, "both in work")  # type: ignore[misc]

    with fleet.load("old", "before") as before:
        replace_all("new")  # workers first
    with fleet.load("new", "after") as after:  # then producers
        reached = calls(fleet) + 50
        eventually(lambda: calls(fleet) >= reached, "served")
    with fleet.load("old", "back") as back:  # and in the reverse order
        replace_all("old")
    ids = [*before, *after, *back]
    assert Counter(outcome.result for outcome in fleet.outcomes(ids)) == {Result.STOPPED: len(ids)}
    assert calls(fleet) == len(ids), "a worker that is told to stop finishes its calls, and none is made twice"
    fleet.assert_one_pace()


def test_without_history_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_PREVIOUS", "no-such-revision")
    with pytest.raises(NoHistory, match="git fetch --unshallow"):
        previous_version(tmp_path)
