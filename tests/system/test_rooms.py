"""Rooms: real workers stop everything that runs in a room, and a client can watch the progress."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from streamstop import Command, Result, ShutdownStatus
from streamstop.operations import (
    Operation,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopPublishCdnStream,
    StopStreamIngest,
)
from streamstop_simulator import TaskState
from tests.support.room_shutdowns import await_exact_counts
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World, world

FAST = {
    "rtc.StopMPUTask": 500.0,
    "live.StopLiveMPUTask": 500.0,
    "live.StopEdgeTranscodeJob": 500.0,
    "trtc.StopStreamIngest": 500.0,
    "trtc.DescribeStreamIngest": 500.0,
}
TIMEOUT = 60


@pytest.fixture(scope="module")
def fast_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world of two workers with raised limits."""
    with world(tmp_path_factory.mktemp("rooms"), workers=2, limits=FAST) as made:
        yield made


def room_of(size: int, name: str) -> list[Command]:
    """Return the stops of a room's tasks, over four lanes, three accounts and two vendors."""
    kinds: list[tuple[str, type[Operation]]] = [
        (ALIYUN, RtcStopMPUTask),
        (OTHER_ALIYUN, StopLiveMPUTask),
        (ALIYUN, StopEdgeTranscodeJob),
        (TENCENT, StopStreamIngest),
    ]
    commands = []
    for n in range(size):
        account, kind = kinds[n % len(kinds)]
        names = {"AppId": name, "ClusterId": name, "SdkAppId": 1}
        params = {key: names.get(key, f"{name}-{n}") for key in (f.alias for f in kind.model_fields.values()) if key}
        commands.append(Command(operation=kind(**params), account=account))
    return commands


def start(fast_world: World, commands: list[Command]) -> None:
    for account in {command.account for command in commands}:
        fast_world.simulator.start_tasks(account, [c.operation for c in commands if c.account == account])


def running(fast_world: World, name: str) -> list[str]:
    tasks = fast_world.simulator.tasks(state=TaskState.RUNNING)
    return [str(task.params) for task in tasks if f"{name}-" in str(task.params)]


@pytest.mark.long
def test_a_room_of_two_thousand_over_four_lanes_is_stopped_whole(fast_world: World) -> None:
    commands = room_of(2000, "big")
    start(fast_world, commands)
    assert fast_world.client.register_many("big", commands) is None
    assert len(fast_world.client.room("big").tasks) == 2000
    shutdown = fast_world.client.stop_room("big")
    progress = await_exact_counts(shutdown, 2000)
    assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.STOPPED: 2000})
    assert {(lane.account, lane.operation): (lane.total, lane.ended) for lane in progress.lanes} == {
        (ALIYUN, "rtc.StopMPUTask"): (500, 500),
        (OTHER_ALIYUN, "live.StopLiveMPUTask"): (500, 500),
        (ALIYUN, "live.StopEdgeTranscodeJob"): (500, 500),
        (TENCENT, "trtc.StopStreamIngest"): (500, 500),
    }
    assert not running(fast_world, "big")
    assert fast_world.client.room("big").tasks == (), "a stop that ended well takes its task out of the registry"


@pytest.mark.long
def test_a_room_with_nothing_in_it_is_done_at_once(fast_world: World) -> None:
    progress = fast_world.client.stop_room("empty").progress()
    assert (progress.status, progress.total) == (ShutdownStatus.DONE, 0)


def test_passed_commands_join_the_registered_tasks_and_each_task_is_stopped_once(fast_world: World) -> None:
    commands = room_of(40, "joined")
    start(fast_world, commands)
    fast_world.client.register_many("joined", commands[:30])
    since = len(fast_world.simulator.calls())
    with fast_world.paused():  # so that the shutdown is still open
        first = fast_world.client.stop_room("joined", commands[20:])
        second = fast_world.client.stop_room("joined", commands[:5])
    assert first == second
    assert first.wait(TIMEOUT).total == 40
    called = [str(call.params) for call in fast_world.simulator.calls(since=since)]
    assert len(called) == len(set(called)) == 40


def test_a_task_that_is_registered_while_its_room_closes_is_stopped_as_part_of_the_shutdown(fast_world: World) -> None:
    commands = room_of(60, "late")
    start(fast_world, commands)
    fast_world.client.register_many("late", commands[:40])
    with fast_world.paused():  # so that the shutdown is still open
        shutdown = fast_world.client.stop_room("late")
        joined = [
            fast_world.client.register("late", command.operation, account=command.account)
            for command in commands[40:50]
        ]
        assert joined == [shutdown] * 10
    assert shutdown.wait(TIMEOUT).total == 50
    # The room has just closed: what comes now is stopped as well.
    assert fast_world.client.register_many("late", commands[50:]) == shutdown
    progress = next(p for p in shutdown.watch(TIMEOUT) if p.status is ShutdownStatus.DONE and p.total == 60)
    assert progress.results == {Result.STOPPED: 60}
    assert not running(fast_world, "late")

    assert fast_world.client.reopen_room("late")
    again = StopStreamIngest(sdk_app_id=1, task_id="late-again")
    fast_world.simulator.start_tasks(TENCENT, [again])
    assert fast_world.client.register("late", again, account=TENCENT) is None
    assert running(fast_world, "late") != []


def test_a_verified_stop_is_followed_until_the_vendor_says_that_it_is_over(fast_world: World) -> None:
    honest = StopStreamIngest(sdk_app_id=1, task_id="verify-honest")
    cdn = StopPublishCdnStream(sdk_app_id=1, task_id="verify-cdn")
    gone = StopStreamIngest(sdk_app_id=1, task_id="verify-gone")
    fast_world.simulator.start_tasks(TENCENT, [honest, cdn])
    commands = [Command(operation=operation, account=TENCENT) for operation in (honest, cdn, gone)]
    shutdown = fast_world.client.stop_room("verify", commands, verify=True)
    progress = shutdown.wait(TIMEOUT)
    assert progress.status is ShutdownStatus.NEEDS_ATTENTION
    ends = {outcome.operation: outcome for outcome in shutdown.outcomes() if outcome.result is not Result.NOT_FOUND}
    assert progress.results == {Result.VERIFIED: 1, Result.UNVERIFIABLE: 1, Result.NOT_FOUND: 1}
    verified = ends["trtc.StopStreamIngest"]
    assert verified.status is not None
    assert (verified.result, verified.status.raw, verified.status.over) == (Result.VERIFIED, "NotExist", True)
    assert ends["trtc.StopPublishCdnStream"].result is Result.UNVERIFIABLE


def test_a_cancelled_shutdown_calls_nothing_more_and_the_registry_keeps_its_tasks(fast_world: World) -> None:
    moving = [
        Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id=f"cancel-{n}"), account=TENCENT) for n in range(60)
    ]
    waiting = [
        Command(operation=StopLiveMPUTask(app_id="cancel", task_id=f"cancel-{n}"), account=OTHER_ALIYUN)
        for n in range(60)
    ]
    start(fast_world, moving + waiting)
    fast_world.client.register_many("cancel", moving + waiting)
    since = len(fast_world.simulator.calls())
    with fast_world.paused(OTHER_ALIYUN):
        shutdown = fast_world.client.stop_room("cancel")
        next(p for p in shutdown.watch(TIMEOUT) if p.ended >= 5)
        assert shutdown.cancel()
    progress = shutdown.wait(TIMEOUT)
    assert progress.status is ShutdownStatus.CANCELLED
    assert progress.total == progress.ended == 120
    assert progress.results[Result.CANCELLED] >= len(waiting)
    called = [call.operation for call in fast_world.simulator.calls(since=since)]
    assert called == ["trtc.StopPublishCdnStream"] * progress.results[Result.STOPPED]
    registered = {command.operation for command in fast_world.client.room("cancel").tasks}
    assert registered >= {command.operation for command in waiting}
    assert len(registered) == progress.results[Result.CANCELLED]
    assert not shutdown.cancel()


@pytest.mark.long
def test_a_job_that_fails_while_its_shutdown_is_cancelled_is_not_tried_again(fast_world: World) -> None:
    slow = [
        Command(operation=StopPublishCdnStream(sdk_app_id=2, task_id=f"failing-{n}"), account=TENCENT)
        for n in range(30)
    ]
    start(fast_world, slow)
    fast_world.simulator.add_fault(
        "503", operation="trtc.StopPublishCdnStream", probability=1, latency=timedelta(seconds=5)
    )
    since = len(fast_world.simulator.calls())
    shutdown = fast_world.client.stop_room("failing", slow)
    # The simulator counts a call when it arrives, five seconds before its answer.
    fast_world.simulator.wait_for_calls(1, since=since)
    assert shutdown.cancel()
    progress = shutdown.wait(TIMEOUT)
    fast_world.simulator.clear_faults()
    assert progress.results == {Result.CANCELLED: 30}
    called = [str(call.params) for call in fast_world.simulator.calls(since=since)]
    assert len(called) == len(set(called)), "none was called again"
    reported = {str(outcome.params) for outcome in shutdown.outcomes()}
    assert reported == {str(command.operation.params) for command in slow}, "each outcome names its task"
