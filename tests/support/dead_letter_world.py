"""Stops that end as dead letters in a world of workers, and what becomes of them."""

import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Any

from streamstop import (
    Command,
    DeadLetter,
    Job,
    Matching,
    Result,
    Shutdown,
    ShutdownStatus,
)
from streamstop.operations import StopMPUTask, StopStreamIngest
from streamstop_simulator import Call, FaultKind, TaskState
from tests.support.executable import run
from tests.support.polling import eventually
from tests.support.room_shutdowns import await_exact_counts
from tests.support.world import ALIYUN, TENCENT, World

TIMEOUT = 60
STOP = "trtc.StopStreamIngest"
LIMITS = {
    "live.StopMPUTask": 200.0,
    "trtc.StopStreamIngest": 300.0,
    "trtc.DescribeStreamIngest": 300.0,
}
ENVIRON = {
    # A call or a callback that times out on a busy machine would be made again, and tests count both.
    "STREAMSTOP_CALL_TIMEOUT": "10",
    "STREAMSTOP_VERIFY_TIMEOUT": "1",
    "STREAMSTOP_CALLBACK_SECRET": "of-callbacks",
}


def ingest_stops(name: str, count: int) -> list[Command]:
    return [
        Command(operation=StopStreamIngest(sdk_app_id=1, task_id=f"{name}-{n}"), account=TENCENT) for n in range(count)
    ]


def relay_stops(name: str, count: int) -> list[Command]:
    return [Command(operation=StopMPUTask(app_id="a", task_id=f"{name}-{n}"), account=ALIYUN) for n in range(count)]


def start_tasks(made: World, commands: Sequence[Command], **how: Any) -> Sequence[Command]:
    for account in {command.account for command in commands}:
        made.simulator.start_tasks(account, [c.operation for c in commands if c.account == account], **how)
    return commands


def enqueue_and_await(made: World, commands: Sequence[Command], result: Result) -> list[Job]:
    """Enqueue stops, wait until all have ended with `result`, and return their jobs."""
    jobs = made.client.enqueue_many(commands)
    outcomes = list(made.client.outcomes(jobs, timeout=TIMEOUT))
    assert Counter(outcome.result for outcome in outcomes) == {result: len(commands)}
    return jobs


def enqueue_refused(made: World, name: str, count: int) -> list[Job]:
    """Enqueue `count` stops of running tasks, each of which the vendor refuses once; return the jobs."""
    made.simulator.add_fault(FaultKind.CODE, account=TENCENT, code="UnauthorizedOperation", times=count)
    return enqueue_and_await(made, start_tasks(made, ingest_stops(name, count)), Result.REFUSED)


def dead_letters(made: World, **matching: Any) -> list[DeadLetter]:
    return list(made.client.dead_letters.letters(Matching(**matching)))


def calls_of(made: World, name: str, *, since: int = 0) -> list[Call]:
    """Return the accepted calls for the tasks of a test."""
    calls = (call for call in made.simulator.calls(since=since) if call.authenticated)
    return [call for call in calls if str(call.params["TaskId"]).startswith(f"{name}-")]


def running_tasks(made: World, name: str) -> list[str]:
    ids = [str(task.params["TaskId"]) for task in made.simulator.tasks(state=TaskState.RUNNING)]
    return [task_id for task_id in ids if task_id.startswith(f"{name}-")]


def run_dead(world: World, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return run(world.server.url, "dead", *arguments, stdin=stdin)


def reload_accounts(made: World) -> None:
    """Let the workers reload the accounts file. None of them takes a job until all have reloaded it."""
    with made.paused():
        for one in made.workers:
            before = one.text().count("accounts are loaded")
            one.signal(signal.SIGHUP)
            eventually(lambda o=one, n=before: o.text().count("accounts are loaded") > n, "taken over")  # type: ignore[misc]


def ended_job_ids(made: World) -> set[str]:
    """Return the ids of the jobs that have ended."""
    prefix = "celery-task-meta-"
    keys: Any = made.redis.scan_iter(f"{prefix}{TENCENT}*", count=1000)
    return {key.decode().removeprefix(prefix) for key in keys}


# Shutdowns


def stop_room_with_failures(
    world: World, name: str, *, good: int, absent: int, forbidden: int, **options: Any
) -> Shutdown:
    """Stop a room of registered tasks, of which some are unknown to the vendor and some refused; wait for its end."""
    commands = ingest_stops(name, good + absent + forbidden)
    start_tasks(world, commands[: good + forbidden])
    for command in commands[good : good + forbidden]:
        world.simulator.add_fault(FaultKind.CODE, task=command.operation.params, code="UnauthorizedOperation")
    world.client.register_many(name, commands)
    shutdown = world.client.stop_room(name, **options)
    progress = await_exact_counts(shutdown, len(commands))
    assert progress.status is ShutdownStatus.NEEDS_ATTENTION
    results = {Result.STOPPED: good, Result.NOT_FOUND: absent, Result.REFUSED: forbidden}
    assert progress.results == {result: count for result, count in results.items() if count}
    assert len(world.client.room(name).tasks) == absent + forbidden
    start_tasks(world, commands[good + forbidden :])
    return shutdown
