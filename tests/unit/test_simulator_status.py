"""Status operations report each state in the field and with the value that the vendor documents."""

from typing import Any

import pytest

from streamstop.operations import (
    DeleteCloudRecording,
    Operation,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopMPUTask,
    StopStreamIngest,
)
from streamstop.outcomes import State
from streamstop_simulator.tasks import Phase
from tests.support.simulated_vendors import LIVE, Vendors, code
from tests.support.simulator_operations import EDGE, INGEST, MPU, PULL, RECORDING, RTC_MPU, account_for

STATES: list[tuple[Operation, dict[str, Any], int | str, State]] = [
    (MPU, {}, 1, State.RUNNING),
    (MPU, {"phase": Phase.WAITING}, 0, State.WAITING),
    (MPU, {"ends_after_ms": 0}, 2, State.STOPPED),
    (RTC_MPU, {}, 1, State.RUNNING),
    (RTC_MPU, {"ends_after_ms": 0}, 2, State.STOPPED),
    (PULL, {}, 1, State.RUNNING),
    (PULL, {"phase": Phase.WAITING}, 0, State.WAITING),
    (PULL, {"phase": Phase.ABNORMAL}, 2, State.ABNORMAL),
    (PULL, {"ends_after_ms": 0}, -1, State.STOPPED),
    (EDGE, {}, "1", State.RUNNING),
    (EDGE, {"phase": Phase.WAITING}, "0", State.WAITING),
    (EDGE, {"ends_after_ms": 0}, "0", State.WAITING),
    (INGEST, {}, "InProgress", State.RUNNING),
    (INGEST, {"ends_after_ms": 0}, "NotExist", State.STOPPED),
    (RECORDING, {}, "InProgress", State.RUNNING),
    (RECORDING, {"phase": Phase.WAITING}, "Idle", State.WAITING),
    (RECORDING, {"ends_after_ms": 0}, "Exited", State.STOPPED),
]


@pytest.mark.parametrize(("status", "task", "raw", "state"), STATES, ids=str)
def test_a_status_operation_tells_the_state_where_and_how_the_vendor_tells_it(
    status: Operation, task: dict[str, Any], raw: int | str, state: State
) -> None:
    """The declaration's own reader finds it, so a shape that drifts from the declarations is seen here."""
    vendors, account = Vendors(), account_for(type(status))
    vendors.start(account, status, **task)

    _, fields = vendors.call(account, status)

    assert status.spec.status is not None
    read = status.spec.status.read(fields)
    assert (read.raw, read.state) == (raw, state)


@pytest.mark.parametrize(
    ("stop", "status", "raw"),
    [
        (StopMPUTask(app_id="app", task_id="t"), MPU, 3),
        (StopLiveMPUTask(app_id="app", task_id="t"), MPU, 3),
        (RtcStopMPUTask(app_id="app", task_id="t"), RTC_MPU, 3),
        (StopLivePullToPush(region="cn-shanghai", task_id="t"), PULL, 3),
        (StopEdgeTranscodeJob(cluster_id="c", job_id="j"), EDGE, "0"),
        (StopStreamIngest(sdk_app_id=1, task_id="t"), INGEST, "NotExist"),
        (DeleteCloudRecording(sdk_app_id=1, task_id="t"), RECORDING, "Exited"),
    ],
    ids=str,
)
def test_a_status_operation_tells_of_a_stop(stop: Operation, status: Operation, raw: int | str) -> None:
    vendors, account = Vendors(), account_for(type(stop))
    vendors.start(account, stop)
    vendors.call(account, stop)

    _, fields = vendors.call(account, status)

    assert status.spec.status is not None
    assert status.spec.status.read(fields).raw == raw


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (MPU, (404, "InvalidTask.NotFound")),
        (RTC_MPU, (404, "InvalidTask.NotFound")),
        (PULL, (400, "CodeTaskNotExist")),
        (EDGE, (404, "JobNotFound")),
        (RECORDING, (200, "FailedOperation.TaskNotExist")),
        (INGEST, (200, None)),
    ],
    ids=str,
)
def test_a_status_operation_of_an_unknown_task_is_answered_as_its_vendor_does(
    status: Operation, expected: tuple[int, str | None]
) -> None:
    vendors = Vendors()
    answer = vendors.send(vendors.sign(account_for(type(status)), status))

    assert (answer.status, code(answer)) == expected


def test_a_pull_to_push_reply_has_the_return_code_and_the_task_of_the_vendors_page() -> None:
    vendors = Vendors()
    vendors.start(LIVE, PULL, params={"TaskName": "evening", "DstUrl": "rtmp://there/x"})

    _, fields = vendors.call(LIVE, PULL)

    assert (fields["RetCode"], fields["TaskInfo"]["TaskName"]) == (0, "evening")
    assert fields["TaskInfo"]["DstUrl"] == "rtmp://there/x"
