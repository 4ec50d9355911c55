"""Every operation of both vendors is served, with the vendor's shapes and the vendor's errors."""

import hashlib
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from streamstop.operations import (
    OPERATIONS,
    DeleteCloudRecording,
    DescribeCloudRecording,
    DescribeLivePullToPush,
    DescribeLivePullToPushList,
    DescribeStreamIngest,
    GetEdgeTranscodeJob,
    GetMPUTaskStatus,
    Kind,
    ListEdgeTranscodeJob,
    ListRtcMPUTaskDetail,
    Operation,
    RtcGetMPUTaskStatus,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopMPUTask,
    StopPublishCdnStream,
    StopStreamIngest,
    StopWebRecord,
)
from streamstop.outcomes import State
from streamstop_simulator.messages import Answer, ReceivedRequest
from streamstop_simulator.simulation import Settings
from streamstop_simulator.tasks import Phase, family_of
from streamstop_worker.accounts import Account
from tests.support import oracles
from tests.support.simulated import LIVE, LIVE_STS, TRTC, Vendors, code

EXAMPLES: dict[str, str | int] = {
    "AppId": "app",
    "ClusterId": "cluster",
    "JobId": "j-1",
    "Region": "cn-shanghai",
    "SdkAppId": 1400000000,
    "TaskId": "t+/=.1",
}
EVERY = list(OPERATIONS.values())


def example(cls: type[Operation]) -> Operation:
    required = (str(field.alias) for field in cls.model_fields.values() if field.is_required())
    return cls(**{name: EXAMPLES[name] for name in required})


def account_for(cls: type[Operation]) -> Account:
    return LIVE if cls.spec.product.vendor.name == "aliyun" else TRTC


STOPS = [example(cls) for cls in EVERY if cls.spec.kind is Kind.STOP]


def named(operation: Operation | type[Operation]) -> str:
    return operation.spec.id


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


MPU, RTC_MPU = GetMPUTaskStatus(app_id="app", task_id="t"), RtcGetMPUTaskStatus(app_id="app", task_id="t")
PULL = DescribeLivePullToPush(region="cn-shanghai", task_id="t")
EDGE = GetEdgeTranscodeJob(cluster_id="c", job_id="j")
INGEST = DescribeStreamIngest(sdk_app_id=1, task_id="t")
RECORDING = DescribeCloudRecording(sdk_app_id=1, task_id="t")
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


@pytest.mark.parametrize("cls", EVERY, ids=named)
def test_a_required_parameter_that_is_missing_is_named(cls: type[Operation]) -> None:
    vendors, account = Vendors(), account_for(cls)
    operation = example(cls)
    for name, field in cls.model_fields.items():
        if field.is_required():
            lacking = operation.model_copy(update={name: None})
            answer = vendors.send(vendors.sign(account, lacking))
            assert code(answer) == "MissingParameter"
            assert str(field.alias) in answer.body.decode()


def alibaba_says(action: str, query: dict[str, str], version: str = "2016-11-01") -> tuple[Vendors, Answer]:
    """Send a call that Alibaba's SDK signed, with parameters that our declarations would not let through."""
    vendors = Vendors(settings=Settings(auto_start=True))
    headers = {
        "host": "live.aliyuncs.com",
        "x-acs-action": action,
        "x-acs-version": version,
        "x-acs-date": "2025-01-02T03:04:05Z",
        "x-acs-signature-nonce": "n",
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
    }
    key, secret = LIVE.access_key_id, LIVE.access_key_secret
    headers["authorization"] = oracles.aliyun_v3("POST", query, headers, key, secret)
    return vendors, vendors.send(ReceivedRequest("POST", "/", urlencode(query), headers, b"", vendors.epoch, 0))


def tencent_says(action: str, params: Any, region: str = "ap-singapore") -> tuple[Vendors, Answer]:
    """Send a call that Tencent's SDK signed, with parameters that our declarations would not let through."""
    headers, body = oracles.tencent_request(
        action, params, key_id=TRTC.access_key_id, secret=TRTC.access_key_secret, token=None, region=region
    )
    vendors = Vendors(settings=Settings(auto_start=True), epoch=float(headers["X-TC-Timestamp"]))
    named = {name.lower(): value for name, value in headers.items()}
    return vendors, vendors.send(ReceivedRequest("POST", "/", "", named, body, vendors.epoch, 0))


def test_alibaba_passes_over_parameters_that_an_operation_does_not_have() -> None:
    vendors, answer = alibaba_says("StopMPUTask", {"AppId": "app", "TaskId": "t", "OwnerId": "7"})

    assert code(answer) is None
    (call,) = vendors.simulation.journal.since(0)
    assert call.params == {"AppId": "app", "TaskId": "t"}


def test_alibaba_refuses_a_page_number_that_is_no_number() -> None:
    _, answer = alibaba_says("DescribeLivePullToPushList", {"Region": "cn-shanghai", "PageNumber": "two"})

    assert code(answer) == "InvalidParameter"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"SdkAppId": 1, "TaskId": "t"}, None),
        ({"SdkAppId": "1", "TaskId": "t"}, "InvalidParameter"),
        ({"SdkAppId": True, "TaskId": "t"}, "InvalidParameter"),
        ({"SdkAppId": 1, "TaskId": 7}, "InvalidParameter"),
        ({"SdkAppId": 1, "TaskId": []}, "InvalidParameter"),
        ({"SdkAppId": 1, "TaskId": "t", "More": 1}, "UnknownParameter"),
        ({"SdkAppId": 1}, "MissingParameter"),
    ],
    ids=str,
)
def test_tencent_checks_the_parameters_types_and_names(params: dict[str, Any], expected: str | None) -> None:
    _, answer = tencent_says("StopStreamIngest", params)

    assert code(answer) == expected


def test_tencent_takes_posts_only() -> None:
    vendors = Vendors()

    assert code(vendors.send(replace(vendors.sign(TRTC, INGEST), method="GET"))) == "UnsupportedProtocol"


@pytest.mark.parametrize("region", ["eu-frankfurt", ""])
def test_tencent_wants_a_region_that_serves_the_product(region: str) -> None:
    _, answer = tencent_says("StopStreamIngest", {"SdkAppId": 1, "TaskId": "t"}, region)

    assert code(answer) == "UnsupportedRegion"


def test_an_action_that_no_vendor_has_is_answered_in_the_vendors_words() -> None:
    vendors, answer = alibaba_says("StopEverything", {})

    assert (answer.status, code(answer)) == (404, "InvalidApi.NotFound")
    (call,) = vendors.simulation.journal.since(0)
    assert (call.operation, call.action, call.authenticated) == (None, "StopEverything", True)
    assert vendors.simulation.journal.refusals == {"InvalidApi.NotFound": 1}
    assert code(tencent_says("StopEverything", {})[1]) == "InvalidAction"


def test_tencent_knows_no_other_version() -> None:
    vendors = Vendors()
    call = vendors.sign(TRTC, INGEST)
    # TC3 need not sign this header.
    older = replace(call, headers=dict(call.headers) | {"x-tc-version": "1999-01-01"})

    assert code(vendors.send(older)) == "NoSuchVersion"


def test_the_version_tells_a_products_action_from_anothers_of_the_same_name() -> None:
    vendors, _ = alibaba_says("StopMPUTask", {"AppId": "app", "TaskId": "t"}, version="2018-01-11")

    assert [call.operation for call in vendors.simulation.journal.since(0)] == ["rtc.StopMPUTask"]
    assert code(alibaba_says("StopMPUTask", {"AppId": "app", "TaskId": "t"}, version="2020-01-01")[1]) == (
        "InvalidApi.NotFound"
    )
