"""Rooms of many stream tasks in a world: how tests start them, stop them and check the counts."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from streamstop import Command, Outcome, OutcomeTimeout, Progress, Result, Shutdown, ShutdownStatus
from streamstop.operations import StopLiveMPUTask, StopMPUTask, StopStreamIngest
from streamstop_simulator import Call, TaskState
from tests.support.polling import eventually
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World

#: How long nothing of a shutdown may end.
TIMEOUT = 60
SECRET = "of-callbacks"
PACED = 100
LIMITS = {
    "live.StopLiveMPUTask": 500.0,
    "live.StopMPUTask": float(PACED),
    "trtc.StopStreamIngest": 500.0,
    "trtc.DescribeStreamIngest": 500.0,
}
ENVIRON = {
    # A killed worker's calls are made again after the call's time and five seconds. A call that took longer on a busy
    # machine would be made again too, and would meet a task that has stopped.
    "STREAMSTOP_CALL_TIMEOUT": "10",
    # Several times the pause between two questions, so that a question that is late on a busy machine is not the last.
    "STREAMSTOP_VERIFY_TIMEOUT": "5",
    "STREAMSTOP_CALLBACK_SECRET": SECRET,
}
#: The id of a stream task at the simulator.
TaskId = str


def ingest_stops(room: str, size: int) -> list[Command]:
    """Return the stops of a room's tasks, in two lanes at two vendors."""
    return [
        Command(operation=StopStreamIngest(sdk_app_id=1, task_id=f"{room}-{n}"), account=TENCENT)
        if n % 2
        else Command(operation=StopLiveMPUTask(app_id="a", task_id=f"{room}-{n}"), account=OTHER_ALIYUN)
        for n in range(size)
    ]


def paced_stops(room: str, size: int) -> list[Command]:
    """Return the stops of a room's tasks, all in the lane with the low limit."""
    return [Command(operation=StopMPUTask(app_id="a", task_id=f"{room}-{n}"), account=ALIYUN) for n in range(size)]


def start_tasks(world: World, commands: Sequence[Command], **how: Any) -> list[Command]:
    for account in {command.account for command in commands}:
        world.simulator.start_tasks(account, [c.operation for c in commands if c.account == account], **how)
    return list(commands)


def running_tasks(world: World, room: str) -> list[TaskId]:
    ids = [str(task.params["TaskId"]) for task in world.simulator.tasks(state=TaskState.RUNNING)]
    return [task_id for task_id in ids if task_id.startswith(f"{room}-")]


def await_end(shutdown: Shutdown) -> Progress:
    """Wait for the end as long as stops end: a busy machine may take its time."""
    ended = -1
    while (progress := shutdown.progress()).status is ShutdownStatus.OPEN:
        assert progress.ended > ended, f"{ended} of {progress.total} have ended, and no more within {TIMEOUT} s"
        ended = progress.ended
        with suppress(OutcomeTimeout):
            shutdown.wait(TIMEOUT)
    return progress


def await_exact_counts(shutdown: Shutdown, size: int) -> Progress:
    """Wait for the end, and check that all counts agree."""
    progress = await_end(shutdown)
    outcomes = list(shutdown.outcomes())
    assert progress.total == progress.ended == size == len(outcomes)
    assert Counter(outcome.result for outcome in outcomes) == dict(progress.results)
    assert len({outcome.job_id for outcome in outcomes}) == size
    assert sum(lane.total for lane in progress.lanes) == sum(lane.ended for lane in progress.lanes) == size
    return progress


def jobs_of(world: World, shutdown: Shutdown) -> int:
    return int(world.redis.hlen(f"streamstop.shutdown.{shutdown.id}:jobs"))


def await_jobs(world: World, shutdown: Shutdown, size: int) -> None:
    """Wait until the fan-out has put every job into its lane. It goes on while lanes are paused."""
    eventually(lambda: jobs_of(world, shutdown) == size, f"{size} jobs in their lanes")


def start_producer(world: World, script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start a producer in a process of its own; it says that it is ready, and waits for :func:`release_producers`."""
    prelude = """
import sys
from streamstop import Client, Command
from streamstop.operations import StopStreamIngest
from streamstop_simulator import SimulatorClient
client, simulator = Client(sys.argv[1]), SimulatorClient(sys.argv[2])
client.accounts()
client._backend.connections.redis.rpush("test.ready", 1)
client._backend.connections.redis.blpop(["test.go"], 60)
"""
    return subprocess.Popen(
        [sys.executable, "-c", prelude + script, world.server.url, world.simulator.url, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"STREAMSTOP_REDIS_TIMEOUT": "60"},
    )


def release_producers(world: World, producers: int) -> None:
    """Release all producers at once, as soon as each of them is ready."""
    for _ in range(producers):
        assert world.redis.blpop(["test.ready"], TIMEOUT), "every producer is ready"
    world.redis.rpush("test.go", *range(producers))


def output_of(producer: "subprocess.Popen[str]") -> list[str]:
    output, _ = producer.communicate(timeout=TIMEOUT)
    assert producer.returncode == 0
    return output.split()


def paced_calls(world: World) -> list[Call]:
    return world.simulator.calls(ALIYUN, "live.StopMPUTask")


def place_of_last(made: Sequence[Call], room: str) -> int:
    return max(place for place, call in enumerate(made, 1) if str(call.params["TaskId"]).startswith(f"{room}-"))


def outcome_with(shutdown: Shutdown, result: Result) -> Outcome:
    (outcome,) = (outcome for outcome in shutdown.outcomes() if outcome.result is result)
    return outcome


def seconds_left(world: World, keys: str) -> dict[str, int]:
    """Return the time to live of the keys of a pattern, -1 for none. A key that ends meanwhile is left out."""
    ends = {key.decode(): int(world.redis.ttl(key)) for key in world.redis.scan_iter(keys)}
    return {key: end for key, end in ends.items() if end != -2}


def other_keys_without_ttl(world: World) -> set[str]:
    """Return the keys without a time to live, beside Celery's own, dead letters and the latest events."""
    keys = [key.decode() for key in world.redis.scan_iter("*") if world.redis.ttl(key) == -1]
    return {key for key in keys if not key.startswith(("_kombu", "streamstop.dead", "streamstop.events"))}
