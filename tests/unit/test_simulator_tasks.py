"""Stream tasks at the simulated vendors run until they are stopped or end by themselves."""

import pytest
from pydantic import ValidationError

from streamstop.operations import (
    OPERATIONS,
    DescribeLivePullToPush,
    GetMPUTaskStatus,
    StopLivePullToPush,
    StopMPUTask,
    StopStreamIngest,
)
from streamstop_simulator.simulation import Settings
from streamstop_simulator.tasks import TaskStart, TaskState, family_of, identifying
from tests.support.simulated_vendors import LIVE, TRTC, Vendors, code

STOP = StopMPUTask(app_id="app", task_id="t")


def state(vendors: Vendors) -> TaskState:
    (task,) = vendors.simulation.tasks
    return task.state(vendors.monotonic)


def test_a_task_runs_until_it_is_stopped() -> None:
    vendors = Vendors()
    vendors.start(LIVE, STOP)
    vendors.turn(1_000_000)
    assert state(vendors) is TaskState.RUNNING

    vendors.call(LIVE, STOP)

    assert state(vendors) is TaskState.STOPPED


def test_a_task_ends_by_itself_at_its_time() -> None:
    vendors = Vendors()
    vendors.start(LIVE, STOP, ends_after_ms=1500)

    vendors.turn(1.499)
    assert state(vendors) is TaskState.RUNNING

    vendors.turn(0.001)
    assert state(vendors) is TaskState.ENDED


def test_a_task_that_was_stopped_before_its_end_stays_stopped() -> None:
    vendors = Vendors()
    vendors.start(LIVE, STOP, ends_after_ms=1500)
    vendors.call(LIVE, STOP)

    vendors.turn(2)

    assert state(vendors) is TaskState.STOPPED


def test_a_task_that_ignores_stops_acknowledges_each_and_runs_on() -> None:
    vendors = Vendors()
    vendors.start(LIVE, STOP, ignores_stops=True)

    assert [vendors.call(LIVE, STOP)[0] for _ in range(3)] == [200, 200, 200]

    (task,) = vendors.simulation.tasks
    assert (task.state(vendors.monotonic), task.stops, task.stopped_by) == (TaskState.RUNNING, 3, None)
    assert vendors.call(LIVE, GetMPUTaskStatus(app_id="app", task_id="t"))[1]["Status"] == 1


def test_an_id_that_is_used_again_is_a_new_task() -> None:
    vendors = Vendors()
    vendors.start(LIVE, STOP)
    vendors.call(LIVE, STOP)

    vendors.start(LIVE, STOP)

    assert state(vendors) is TaskState.RUNNING


def test_a_task_may_be_started_by_any_operation_of_its_family() -> None:
    vendors = Vendors()
    vendors.start(LIVE, GetMPUTaskStatus(app_id="app", task_id="t"))

    assert vendors.call(LIVE, STOP)[0] == 200


def test_a_number_identifies_as_well_as_its_text() -> None:
    vendors = Vendors()
    start = TaskStart(account=TRTC.name, operation="trtc.StopStreamIngest", params={"SdkAppId": "14", "TaskId": "t"})
    vendors.simulation.tasks.start(start)

    assert code(vendors.send(vendors.sign(TRTC, StopStreamIngest(sdk_app_id=14, task_id="t")))) is None


def test_a_start_that_identifies_no_task_is_refused() -> None:
    with pytest.raises(ValidationError, match="the task has no AppId"):
        TaskStart(account=LIVE.name, operation="live.StopMPUTask", params={"TaskId": "t"})
    with pytest.raises(ValidationError, match=r"did you mean live\.StopMPUTask"):
        TaskStart(account=LIVE.name, operation="live.StopMPUTaks", params={"TaskId": "t"})


def test_every_operation_speaks_of_a_family_that_something_can_identify() -> None:
    for cls in OPERATIONS.values():
        family = family_of(cls)
        assert OPERATIONS[family].spec.product == cls.spec.product
        assert identifying(family)


def test_with_auto_start_a_task_that_nobody_started_runs_until_it_is_stopped() -> None:
    vendors = Vendors(settings=Settings(auto_start=True))
    status = GetMPUTaskStatus(app_id="app", task_id="t")

    assert vendors.call(LIVE, status)[1]["Status"] == 1
    assert vendors.call(LIVE, STOP)[0] == 200
    assert vendors.call(LIVE, status)[1]["Status"] == 3
    assert vendors.call(LIVE, STOP)[0] == 404


def test_with_forget_ended_a_task_that_is_over_is_unknown_to_every_operation() -> None:
    vendors = Vendors(settings=Settings(forget_ended=True))
    stop = StopLivePullToPush(region="cn-shanghai", task_id="t")
    vendors.start(LIVE, stop)
    vendors.call(LIVE, stop)

    assert code(vendors.send(vendors.sign(LIVE, stop))) == "CodeTaskNotExist"
    status = DescribeLivePullToPush(region="cn-shanghai", task_id="t")
    assert code(vendors.send(vendors.sign(LIVE, status))) == "CodeTaskNotExist"


def test_a_reset_forgets_tasks_calls_faults_limits_and_settings() -> None:
    vendors = Vendors()
    vendors.start(LIVE, STOP)
    vendors.simulation.set_limit(LIVE.name, STOP.spec.id, 1)
    vendors.call(LIVE, STOP)
    vendors.simulation.settings = Settings(auto_start=True)

    vendors.simulation.reset()

    assert list(vendors.simulation.tasks) == []
    assert list(vendors.simulation.journal.since(0)) == []
    assert vendors.simulation.settings == Settings()
    assert code(vendors.send(vendors.sign(LIVE, STOP))) == "InvalidTask.NotFound"
    assert vendors.simulation.limit(LIVE.name, STOP.spec.id) == 10
