"""Every stop and list operation of both vendors is served, with the vendor's shapes and the vendor's errors."""

from typing import Any

import pytest

from streamstop.operations import (
    OPERATIONS,
    DeleteCloudRecording,
    DescribeLivePullToPushList,
    ListEdgeTranscodeJob,
    ListRtcMPUTaskDetail,
    Operation,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopMPUTask,
    StopPublishCdnStream,
    StopStreamIngest,
    StopWebRecord,
)
from streamstop_simulator.tasks import family_of
from streamstop_worker.accounts import Account
from tests.support.simulated_vendors import LIVE, LIVE_STS, TRTC, Vendors, code
from tests.support.simulator_operations import EVERY, STOPS, account_for, example, named


@pytest.mark.parametrize("cls", EVERY, ids=named)
def test_every_operation_is_served_for_a_task_that_runs(cls: type[Operation]) -> None:
    vendors = Vendors()
    task = example(OPERATIONS[family_of(cls)])
    vendors.start(account_for(cls), task)

    status, fields = vendors.call(account_for(cls), example(cls))

    assert status == 200
    assert "Error" not in fields
    assert fields["RequestId"]


@pytest.mark.parametrize("stop", STOPS, ids=named)
def test_a_stop_ends_the_task_once(stop: Operation) -> None:
    vendors, account = Vendors(), account_for(type(stop))
    vendors.start(account, stop)

    vendors.call(account, stop)
    second = vendors.send(vendors.sign(account, stop))

    (task,) = vendors.simulation.tasks
    assert (task.state(vendors.monotonic), task.stops, task.stopped_by) == ("stopped", 1, stop.spec.id)
    assert (second.status, code(second)) == {
        "live.StopLivePullToPush": (400, "CodeTaskHasStopped"),
        "live.StopEdgeTranscodeJob": (404, "JobNotFound"),
        "live.StopMPUTask": (404, "InvalidTask.NotFound"),
        "live.StopLiveMPUTask": (404, "InvalidTask.NotFound"),
        "rtc.StopMPUTask": (404, "InvalidTask.NotFound"),
    }.get(stop.spec.id, (200, "FailedOperation.TaskFinished"))


@pytest.mark.parametrize("stop", STOPS, ids=named)
def test_a_stop_of_a_task_that_ended_by_itself_is_answered_like_a_second_stop(stop: Operation) -> None:
    vendors, account = Vendors(), account_for(type(stop))
    vendors.start(account, stop)
    vendors.call(account, stop)
    second = code(vendors.send(vendors.sign(account, stop)))
    vendors.start(account, stop, ends_after_ms=1)
    vendors.turn(1)

    assert code(vendors.send(vendors.sign(account, stop))) == second


@pytest.mark.parametrize("stop", STOPS, ids=named)
def test_a_task_that_nobody_started_is_not_known(stop: Operation) -> None:
    vendors, account = Vendors(), account_for(type(stop))

    answer = vendors.send(vendors.sign(account, stop))

    assert (answer.status, code(answer)) == {
        "live.StopLivePullToPush": (400, "CodeTaskNotExist"),
        "live.StopEdgeTranscodeJob": (404, "JobNotFound"),
        "live.StopMPUTask": (404, "InvalidTask.NotFound"),
        "live.StopLiveMPUTask": (404, "InvalidTask.NotFound"),
        "rtc.StopMPUTask": (404, "InvalidTask.NotFound"),
    }.get(stop.spec.id, (200, "FailedOperation.TaskNotExist"))


def test_a_stop_repeats_the_id_where_the_vendors_page_says_so() -> None:
    repeated = {}
    for stop in STOPS:
        vendors, account = Vendors(), account_for(type(stop))
        vendors.start(account, stop)
        _, fields = vendors.call(account, stop)
        repeated[stop.spec.id] = {name: value for name, value in fields.items() if name != "RequestId"}

    assert {operation: fields for operation, fields in repeated.items() if fields} == {
        "live.StopLivePullToPush": {"TaskId": "t+/=.1"},
        "live.StopEdgeTranscodeJob": {"JobId": "j-1"},
        "trtc.StopPublishCdnStream": {"TaskId": "t+/=.1"},
        "trtc.DeleteCloudRecording": {"TaskId": "t+/=.1"},
    }


def test_a_task_belongs_to_its_account_region_and_product() -> None:
    vendors = Vendors()
    vendors.start(LIVE, StopLivePullToPush(region="cn-shanghai", task_id="t"))
    vendors.start(LIVE, StopMPUTask(app_id="app", task_id="t"))

    def stop(account: Account, operation: Operation) -> str | None:
        return code(vendors.send(vendors.sign(account, operation)))

    assert stop(LIVE_STS, StopMPUTask(app_id="app", task_id="t")) == "InvalidTask.NotFound"
    assert stop(LIVE, StopMPUTask(app_id="other", task_id="t")) == "InvalidTask.NotFound"
    assert stop(LIVE, RtcStopMPUTask(app_id="app", task_id="t")) == "InvalidTask.NotFound"
    assert stop(LIVE, StopLivePullToPush(region="cn-beijing", task_id="t")) == "CodeTaskNotExist"
    assert stop(LIVE, StopLiveMPUTask(app_id="app", task_id="t")) is None


def test_trtcs_kinds_of_task_do_not_answer_for_one_another() -> None:
    vendors = Vendors()
    vendors.start(TRTC, StopStreamIngest(sdk_app_id=1, task_id="t"))
    others: list[Operation] = [
        StopPublishCdnStream(sdk_app_id=1, task_id="t"),
        DeleteCloudRecording(sdk_app_id=1, task_id="t"),
        StopWebRecord(task_id="t"),
    ]

    assert {code(vendors.send(vendors.sign(TRTC, other))) for other in others} == {"FailedOperation.TaskNotExist"}


def test_pull_to_push_tasks_are_listed_by_region_name_and_page() -> None:
    vendors = Vendors()
    for number in range(12):
        stop = StopLivePullToPush(region="cn-shanghai", task_id=f"t-{number}")
        vendors.start(LIVE, stop, params={"TaskName": f"name-{number % 2}"})
    vendors.start(LIVE, StopLivePullToPush(region="cn-beijing", task_id="elsewhere"))

    def listed(**filters: Any) -> tuple[int, list[str]]:
        _, fields = vendors.call(LIVE, DescribeLivePullToPushList(region="cn-shanghai", **filters))
        return fields["Total"], [entry["TaskId"] for entry in fields["TaskList"]]

    assert listed() == (12, [f"t-{number}" for number in range(10)])
    assert listed(page_number=2) == (12, ["t-10", "t-11"])
    assert listed(page_number=2, page_size=5) == (12, [f"t-{number}" for number in range(5, 10)])
    assert listed(task_id="t-3") == (1, ["t-3"])
    assert listed(task_name="name-1", page_size=2) == (6, ["t-1", "t-3"])
    assert listed(dst_url="rtmp://nowhere") == (0, [])


def test_edge_jobs_are_listed_by_cluster_status_and_page() -> None:
    vendors = Vendors()
    for number in range(3):
        vendors.start(LIVE, StopEdgeTranscodeJob(cluster_id="c", job_id=f"j-{number}"))
    vendors.start(LIVE, StopEdgeTranscodeJob(cluster_id="other", job_id="elsewhere"))
    vendors.call(LIVE, StopEdgeTranscodeJob(cluster_id="c", job_id="j-1"))

    def listed(**filters: Any) -> tuple[int, list[str]]:
        _, fields = vendors.call(LIVE, ListEdgeTranscodeJob(cluster_id="c", **filters))
        return fields["TotalCount"], [job["JobId"] for job in fields["JobList"]["Job"]]

    assert listed() == (3, ["j-0", "j-1", "j-2"])
    assert listed(status="0") == (1, ["j-1"])
    assert listed(status="1", page_no=2, page_size=1) == (2, ["j-2"])
    assert listed(keyword="j-2") == (1, ["j-2"])
    assert listed(type="ultra-hd") == (0, [])


def test_running_mpu_tasks_are_listed_by_application() -> None:
    vendors = Vendors()
    for number in range(3):
        vendors.start(LIVE, StopMPUTask(app_id="app", task_id=f"t-{number}"))
    vendors.start(LIVE, StopMPUTask(app_id="other", task_id="elsewhere"))
    vendors.call(LIVE, StopMPUTask(app_id="app", task_id="t-1"))

    def listed(**filters: Any) -> list[str]:
        _, fields = vendors.call(LIVE, ListRtcMPUTaskDetail(app_id="app", **filters))
        return [entry["TaskId"] for entry in fields["MPUTasks"]]

    assert listed() == ["t-0", "t-2"]
    assert listed(task_id="t-2") == ["t-2"]
    assert listed(page_no=2, page_size=1) == ["t-2"]
