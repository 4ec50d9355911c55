"""Six SIGKILLs of a worker during 600 jobs, beside plain Celery: jobs lost, called twice, and late."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from redis import Redis

from streamstop import Client, Command
from streamstop.operations import StopStreamIngest
from streamstop_simulator import SimulatorClient, TaskState, run_in_process
from streamstop_simulator.demo.embedded_redis import redis_server
from streamstop_worker.accounts import Account
from tests.support.redis_content import everything_in
from tests.support.workers import accounts_toml
from tests.torture.chronicle import Chronicle
from tests.torture.load import name_of
from tests.torture.plain import PlainFleet, producer
from tests.torture.stage import REDIS_OPTIONS, stage, write_secretly

JOBS = 600
KILLS = 6
EVERY = timedelta(seconds=0.7)
VENDOR_LATENCY_MS = 200
WORKERS = 3
#: How many calls a worker makes at once. Plain Celery has a thread for each, streamstop one event loop.
THREADS = 8
#: A usual setting for a vendor that answers within a second.
CALL_TIMEOUT_S = 5.0
LEASE_S = CALL_TIMEOUT_S + 5.0
#: All jobs should have ended one lease and 5 s after the last kill.
CLAIMED_S = LEASE_S + 5.0
#: If no job ends for so long, which is more than two leases, the round is over.
_QUIET_S = 2 * LEASE_S + 5.0
_LIMIT = 1000.0
_ACCOUNT = Account("trtc-a", "tencent", "key-id-of-trtc-a", "secret-of-trtc-a", region="ap-singapore")
_LIMITS = {"trtc.StopStreamIngest": _LIMIT}


@dataclass(frozen=True)
class Round:
    """The result of one round, after all jobs had ended or no job ended any more."""

    way: str
    #: Jobs that have not ended and are not in Redis.
    lost: int
    called_twice: int
    #: Jobs that had not ended `CLAIMED_S` after the last kill.
    open_later: int
    #: Jobs that have not ended, and are still in Redis.
    held: int
    #: Seconds from the last kill to the last end of a job.
    last_end_s: float


def rounds(number: int, *, only_ours: bool = False) -> Iterator[Round]:
    """Run rounds of streamstop and of plain Celery, in turns."""
    for _ in range(number):
        for way in (_ours,) if only_ours else (_ours, _plain):
            with tempfile.TemporaryDirectory(prefix="streamstop-kills-") as folder:
                yield way(Path(folder))


def _ours(folder: Path) -> Round:
    environ = {"STREAMSTOP_CALL_TIMEOUT": f"{CALL_TIMEOUT_S:g}", "STREAMSTOP_CONCURRENCY": f"{THREADS}"}
    chronicle = Chronicle(lambda _: None)
    with (
        stage(folder, chronicle, WORKERS, [_ACCOUNT], _LIMITS, environ=environ) as on,
        Client(on.redis.server.url) as client,
        on.client() as redis,
    ):
        stops = _start(on.simulator)
        jobs = client.enqueue_many([Command(operation=stop, account=_ACCOUNT.name) for stop in stops])
        killed_at = _kill(on.simulator, on.fleet.kill)
        open_ids = {job.id for job in jobs}

        def unended() -> set[str]:
            open_ids.difference_update(outcome.job_id for outcome in client.outcomes([*map(client.job, open_ids)], 0))
            return set(open_ids)

        return _watched("streamstop", on.simulator, redis, unended, killed_at)


def _plain(folder: Path) -> Round:
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(*REDIS_OPTIONS))
        known = write_secretly(folder / "accounts.toml", accounts_toml([_ACCOUNT], "http://127.0.0.1:1", _LIMITS))
        simulator = stack.enter_context(run_in_process(accounts_file=known))
        environ = {
            "PLAIN_REDIS_URL": server.url,
            "PLAIN_VENDOR_URL": simulator.url,
            "PLAIN_CALL_TIMEOUT": f"{CALL_TIMEOUT_S:g}",
        }
        fleet = PlainFleet(folder, environ, workers=WORKERS, threads=THREADS)
        stack.callback(fleet.close)
        fleet.await_ready()
        stops = _start(simulator)
        stop = stack.enter_context(producer(server.url))
        for one in stops:
            arguments = (one.task_id, _ACCOUNT.access_key_id, _ACCOUNT.access_key_secret)
            stop.apply_async(arguments, task_id=one.task_id)
        killed_at = _kill(simulator, fleet.kill)
        with server.client() as redis:
            return _watched("plain Celery", simulator, redis, lambda: _running(simulator), killed_at)


def _start(simulator: SimulatorClient) -> list[StopStreamIngest]:
    """Start the tasks; return the stops that end them."""
    simulator.settings(latency_ms=VENDOR_LATENCY_MS)
    stops = [StopStreamIngest(sdk_app_id=1, task_id=f"task-{n:03}") for n in range(JOBS)]
    simulator.start_tasks(_ACCOUNT.name, stops)
    return stops


def _kill(simulator: SimulatorClient, kill: Callable[[int], object]) -> float:
    """Kill one worker after another, from the first calls on; return the last moment, by the monotonic clock."""
    simulator.wait_for_calls(1, timeout=timedelta(seconds=30))
    began = time.monotonic()
    for number in range(KILLS):
        time.sleep(max(0.0, began + number * EVERY.total_seconds() - time.monotonic()))
        kill(number % WORKERS)
    return time.monotonic()


def _running(simulator: SimulatorClient) -> set[str]:
    return {name_of(task.params) for task in simulator.tasks(state=TaskState.RUNNING)}


def _watched(
    way: str, simulator: SimulatorClient, redis: Redis, unended: Callable[[], set[str]], killed_at: float
) -> Round:
    """Watch until all jobs have ended, or none ends any more; `unended` returns the ids of those that have not."""
    left, last_end = unended(), time.monotonic()
    open_later: int | None = None
    while left and time.monotonic() < max(last_end, killed_at) + _QUIET_S:
        time.sleep(0.1)
        before, left = left, unended()
        if left != before:
            last_end = time.monotonic()
        if open_later is None and time.monotonic() >= killed_at + CLAIMED_S:
            open_later = len(left)
    content = everything_in(redis)
    lost = sum(one.encode() not in content for one in left)
    calls = Counter(name_of(call.params) for call in simulator.calls())
    twice = sum(number > 1 for number in calls.values())
    return Round(way, lost, twice, open_later or 0, len(left) - lost, last_end - killed_at)
