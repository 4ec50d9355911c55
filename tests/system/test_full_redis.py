"""Redis at its memory limit: producers get an error, workers go on with accepted jobs, and service resumes by itself.

What fills it is what fills it in use: records of jobs that have ended, until they expire.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command, Job, Outcome, QueueUnavailable, Result
from streamstop._core.lane import Lane, result_key
from streamstop._wire.results import outcome_record
from streamstop.operations import Operation, StopLivePullToPush, StopStreamIngest
from streamstop_simulator.tasks import TaskState
from tests.support.polling import eventually
from tests.support.workers import WorkerProcess
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long

LIMIT = 64 * 2**20
FULL = ("--maxmemory", str(LIMIT), "--maxmemory-policy", "noeviction")
#: How long workers keep outcomes: longer than a producer that waits may stand still.
KEPT = timedelta(seconds=20)
ENVIRON = {"STREAMSTOP_OUTCOMES_KEPT": f"{KEPT.total_seconds():g}"}
#: Calls per second of each lane: so few that most of what is accepted waits when Redis is full.
LIMITS = {"live.StopLivePullToPush": 40, "trtc.StopStreamIngest": 40}
#: Far beyond what anything here takes, far below a hang.
HANGS_S = 60
#: How far beyond the limit Redis is: more than workers can free, so that it stays full until records expire.
BEYOND = 8 * 2**20


@contextmanager
def full(made: World, wanted: Sequence[Command]) -> Iterator[Sequence[Job]]:
    """Fill Redis with records, beyond its limit, until the block ends; then they expire, and it has room again.

    `wanted` is enqueued right before the limit holds, and not called before; the block gets its jobs.
    """
    made.redis.config_set("maxmemory", 0)
    made.client.pause("all")
    keys: list[str] = []
    while used(made) < LIMIT + BEYOND:
        records = {result_key(one.job_id): outcome_record(one) for one in (ended_elsewhere() for _ in range(500))}
        made.redis.mset(records)
        keys += records
    jobs = made.client.enqueue_many(wanted)
    made.redis.config_set("maxmemory", LIMIT)
    try:
        assert ids_of(wanted) <= running(made)
        assert made.client.resume("all")
        yield jobs
        assert used(made) > LIMIT, "Redis was not full all the time"
    finally:
        pipeline = made.redis.pipeline(transaction=False)
        for key in keys:
            pipeline.expire(key, 1)
        pipeline.execute()
        eventually(lambda: used(made) < LIMIT / 2, "the records expire", HANGS_S)


def used(made: World) -> int:
    """Return the bytes that Redis counts towards its limit."""
    return int(made.redis.info("memory")["used_memory"])


def ended_elsewhere() -> Outcome:
    """Return how another job ended."""
    lane = Lane("another-account", "live.StopMPUTask")
    now = datetime.now(UTC)
    return Outcome(
        result=Result.STOPPED,
        job_id=lane.new_job_id(),
        operation=lane.operation,
        account=lane.account,
        params={"AppId": "app", "TaskId": "relay"},
        request_id="CD4A1F0E-5B1C-5A1B-9C0D-1F7B2E3A4C5D",
        attempts=1,
        calls=1,
        enqueued_at=now,
        ended_at=now,
        reply={"Description": "x" * 4000},
    )


def commands(name: str, count: int) -> list[Command]:
    """Return stops for both vendors in turn."""
    pulls = [StopLivePullToPush(region="cn-shanghai", task_id=f"{name}-pull-{number}") for number in range(count)]
    ingests = [StopStreamIngest(sdk_app_id=1400000001, task_id=f"{name}-ingest-{number}") for number in range(count)]
    return [
        Command(operation=operation, account=account)
        for pair in zip(pulls, ingests, strict=True)
        for operation, account in zip(pair, (ALIYUN, TENCENT), strict=True)
    ]


def start(made: World, wanted: Sequence[Command]) -> None:
    """Let the tasks run that are to be stopped."""
    for account in (ALIYUN, TENCENT):
        operations: list[Operation] = [command.operation for command in wanted if command.account == account]
        made.simulator.start_tasks(account, operations)


def running(made: World) -> set[Any]:
    """Return the ids of the tasks that the vendors still bill."""
    return {task.params["TaskId"] for task in made.simulator.tasks(state=TaskState.RUNNING)}


def ids_of(wanted: Sequence[Command]) -> set[Any]:
    """Return the ids of the tasks that commands stop."""
    return {command.operation.params["TaskId"] for command in wanted}


def is_idle(made: World) -> bool:
    """Whether nothing waits in the lanes, is leased or is deferred."""
    lanes = [Lane(ALIYUN, "live.StopLivePullToPush"), Lane(TENCENT, "trtc.StopStreamIngest")]
    views = made.client.lanes(lanes)
    return not any(view.waiting or view.in_flight or view.deferred for view in views)


@pytest.fixture(scope="module")
def full_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world whose Redis takes no more than 64 MB, with one worker that keeps outcomes briefly."""
    folder: Path = tmp_path_factory.mktemp("full")
    with world(folder, limits=LIMITS, environ=ENVIRON, redis_options=FULL) as made:
        made.await_account(ALIYUN)
        made.await_account(TENCENT)
        yield made


def test_accepted_jobs_are_called_while_redis_is_full_and_service_resumes_as_records_expire(full_world: World) -> None:
    made = full_world
    wanted, refused, after = commands("before", 100), commands("refused", 1), commands("after", 5)
    for some in (wanted, refused, after):
        start(made, some)
    with full(made, wanted):
        for call in (
            lambda: made.client.enqueue(refused[0].operation, account=refused[0].account),
            lambda: made.client.enqueue_many(refused),
            lambda: made.client.register_many("room", refused),
            lambda: made.client.stop_room("room", refused),
        ):
            with pytest.raises(QueueUnavailable, match=r"Redis is out of memory.*\(OOM at .*\): nothing was changed"):
                call()
        eventually(lambda: not ids_of(wanted) & running(made), "accepted jobs end while Redis is full", HANGS_S)
        eventually(lambda: is_idle(made), "the lanes hear of the ends while Redis is full", HANGS_S)
    ended = list(made.client.outcomes(made.client.enqueue_many(after), timeout=HANGS_S))
    assert [outcome.result for outcome in ended] == [Result.STOPPED] * len(after)
    assert ids_of(refused) <= running(made), "a command that was refused was called"
    # A job that was called again after its end would be told that its task has stopped.
    answers = Counter[str]()
    for lane in made.simulator.summary().lanes.values():
        answers += Counter(lane.answers)
    assert answers["ok"] == len(wanted) + len(after), answers
    assert not [answer for answer in answers if answer.endswith(("HasStopped", "TaskFinished"))], answers
    eventually(lambda: not list(made.redis.scan_iter("celery-task-meta-*")), "every record expires", HANGS_S)


def test_the_outcome_of_a_job_that_ends_while_redis_is_full_is_told(full_world: World) -> None:
    made = full_world
    wanted = commands("told", 40)
    start(made, wanted)
    with full(made, wanted) as jobs:
        last = jobs[-1].outcome(HANGS_S)
        assert last.result is Result.STOPPED


def test_a_job_that_met_a_fault_is_called_again_while_redis_is_full(full_world: World) -> None:
    made = full_world
    wanted = commands("flaky", 20)
    start(made, wanted)
    for command in wanted[-2:]:
        made.simulator.add_fault("500", account=command.account, task=command.operation.params, times=2)
    with full(made, wanted):
        eventually(lambda: not ids_of(wanted) & running(made), "deferred jobs are called while Redis is full", HANGS_S)


def test_a_worker_that_is_killed_while_redis_is_full_loses_nothing(tmp_path: Path) -> None:
    environ = {**ENVIRON, "STREAMSTOP_CALL_TIMEOUT": "2"}
    with world(tmp_path, workers=2, limits=LIMITS, environ=environ, redis_options=FULL) as made:
        made.await_account(ALIYUN)
        made.simulator.settings(latency_ms=1000)  # so that the worker has calls that are out
        wanted = commands("kill", 100)
        start(made, wanted)
        with full(made, wanted):
            made.simulator.wait_for_calls(40)
            made.workers[0].kill()
            eventually(lambda: not running(made), "the jobs of a worker killed while Redis was full end", HANGS_S)


def test_a_worker_that_starts_while_redis_is_full_serves_when_there_is_room_again(tmp_path: Path) -> None:
    with world(tmp_path, workers=0, limits=LIMITS, environ=ENVIRON, redis_options=FULL) as made:
        wanted = commands("late", 20)
        start(made, wanted)
        with full(made, wanted):
            late = made.start_worker(ready=False)
            eventually(lambda: len(refused_starts(late)) >= 4, "the worker tries to start")
        # It tries at once, and then after 1, 2, 4 s and so on.
        pauses = [after - before for before, after in pairwise(refused_starts(late)[1:])]
        assert all(pause >= timedelta(seconds=2**number) for number, pause in enumerate(pauses)), pauses
        eventually(lambda: not running(made), "the worker that started while Redis was full serves", HANGS_S)
        assert late.process.poll() is None


def refused_starts(worker: WorkerProcess) -> list[datetime]:
    """Return when Redis refused the start of a worker on its connection, as the worker's log says."""
    lines = [line for line in worker.lines() if "Connection to broker lost" in line["event"]]
    return [datetime.fromisoformat(line["timestamp"]) for line in lines]
