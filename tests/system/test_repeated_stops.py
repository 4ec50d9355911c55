"""Repeated stops at vendors that forget ended tasks, on real parts: each is a success, and no person is called."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamstop import Client, Command, Outcome, Result
from streamstop._core.progress import ShutdownStatus
from streamstop.operations import StopLiveMPUTask, StopMPUTask
from tests.support.executable import run
from tests.support.world import ALIYUN, World, world

ROOM = 100
WAIT = 60


def stop(task_id: str) -> StopMPUTask:
    return StopMPUTask(app_id="app", task_id=task_id)


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[World]:
    """Return a world of three workers whose vendors forget a task as soon as it has ended."""
    with world(tmp_path, workers=3, limits={"live.StopMPUTask": 100}) as made:
        made.simulator.settings(forget_ended=True, latency_ms=20)
        made.await_account(ALIYUN)
        yield made


def outcomes(client: Client, commands: list[StopMPUTask]) -> list[Outcome]:
    jobs = client.enqueue_many([Command(operation=one, account=ALIYUN) for one in commands])
    return list(client.outcomes(jobs, WAIT))


@pytest.mark.long
def test_the_same_stop_by_the_command_line_exits_0_twice(forgetful: World) -> None:
    forgetful.simulator.start_tasks(ALIYUN, [stop("t-1")])
    words = ["stop", "live.StopMPUTask", "--account", ALIYUN, "AppId=app", "TaskId=t-1", "--wait", str(WAIT)]
    first, second = (run(forgetful.server.url, *words) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert (first.stdout.split()[0], second.stdout.split()[0]) == ("stopped", "already_stopped")
    outcome = forgetful.client.job(second.stdout.split()[1]).outcome(0)
    assert first.stdout.split()[1] in (outcome.message or ""), "it names the job that has stopped the task"
    other_name = forgetful.client.enqueue(StopLiveMPUTask(app_id="app", task_id="t-1"), account=ALIYUN)
    assert other_name.outcome(WAIT).result is Result.ALREADY_STOPPED
    assert forgetful.client.dead_letters.count() == 0


@pytest.mark.long
def test_stops_of_one_task_at_once_all_succeed(forgetful: World) -> None:
    forgetful.simulator.start_tasks(ALIYUN, [stop("t-1")])
    results = Counter(outcome.result for outcome in outcomes(forgetful.client, [stop("t-1")] * 20))
    assert results == {Result.STOPPED: 1, Result.ALREADY_STOPPED: 19}
    assert forgetful.client.dead_letters.count() == 0


@pytest.mark.long
def test_a_task_that_never_existed_is_not_found_and_its_requeued_stop_too(forgetful: World) -> None:
    results = Counter(outcome.result for outcome in outcomes(forgetful.client, [stop("never")] * 3))
    assert results == {Result.NOT_FOUND: 3}
    letters = list(forgetful.client.dead_letters.letters())
    requeued = forgetful.client.dead_letters.requeue(letters[0].id)
    assert requeued.outcome(WAIT).result is Result.NOT_FOUND
    forgetful.simulator.start_tasks(ALIYUN, [stop("never")])
    assert [outcome.result for outcome in outcomes(forgetful.client, [stop("never")])] == [Result.STOPPED]
    again = forgetful.client.dead_letters.requeue(letters[1].id).outcome(WAIT)
    assert again.result is Result.ALREADY_STOPPED, "another job has stopped it since"


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.long
def test_a_room_raced_by_single_stops_of_its_tasks_needs_no_attention(forgetful: World, *, verify: bool) -> None:
    client, tasks = forgetful.client, [stop(f"t-{number}") for number in range(ROOM)]
    forgetful.simulator.start_tasks(ALIYUN, tasks)
    client.register_many("room", [Command(operation=one, account=ALIYUN) for one in tasks])
    with ThreadPoolExecutor(2) as threads:
        single = threads.submit(outcomes, client, tasks)
        shutdown = threads.submit(client.stop_room, "room", verify=verify).result()
        progress = shutdown.wait(WAIT)
        singles = single.result()
    assert (progress.status, progress.ended) == (ShutdownStatus.DONE, ROOM), progress
    assert {outcome.result for outcome in singles} <= {Result.STOPPED, Result.ALREADY_STOPPED}
    assert len(singles) == ROOM
    stopped = Counter(call.answer for call in forgetful.simulator.calls() if call.operation == "live.StopMPUTask")
    assert stopped["ok"] == ROOM, "each task was stopped by one of its two jobs, and the other one found it gone"
    assert client.dead_letters.count() == 0
