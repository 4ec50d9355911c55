"""The vendors' official SDK clients against the simulator: it accepts their calls, and they read its replies."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from streamstop.operations import (
    DeleteCloudRecording,
    Operation,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopPublishCdnStream,
    StopStreamIngest,
    StopWebRecord,
)
from streamstop_simulator import SimulatorClient, TaskState, run_in_thread
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.sdk_clients import (
    ClientException,
    ServerException,
    TencentCloudSDKException,
    ThrottlingException,
    live_client,
    live_models,
    trtc_client,
    trtc_models,
)
from tests.support.simulated_vendors import LIVE_STS, TRTC_STS

# Both SDKs use functions that Python 3.12 deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:datetime\.datetime\.utc:DeprecationWarning")

LIVE, _, TRTC = DEFAULT_ACCOUNTS
#: Characters that encoders disagree about.
ODD = "a+/=.~* é漢"


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorClient]:
    with run_in_thread(at_vendors((*DEFAULT_ACCOUNTS, LIVE_STS, TRTC_STS))) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: SimulatorClient) -> SimulatorClient:
    running.reset()
    return running


def alibaba(simulator: SimulatorClient, account: Any = LIVE) -> Any:
    return live_client(simulator.url, account)


def tencent(simulator: SimulatorClient, action: str, params: dict[str, Any], account: Any = TRTC, **more: Any) -> Any:
    """Call `action` by Tencent's client, as its documentation does it."""
    request = getattr(trtc_models, f"{action}Request")()
    for name, value in params.items():
        setattr(request, name, value)
    return getattr(trtc_client(simulator.url, account, **more), action)(request)


def test_alibabas_client_stops_and_describes_a_pulled_stream(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [StopLivePullToPush(region="cn-shanghai", task_id=ODD)])
    client = alibaba(simulator)
    describe = live_models.DescribeLivePullToPushRequest(region="cn-shanghai", task_id=ODD)

    before = client.describe_live_pull_to_push(describe).body
    stopped = client.stop_live_pull_to_push(live_models.StopLivePullToPushRequest(region="cn-shanghai", task_id=ODD))
    after = client.describe_live_pull_to_push(describe).body

    assert (before.task_status, before.ret_code, before.task_info.task_id) == (1, 0, ODD)
    assert (stopped.body.task_id, bool(stopped.body.request_id)) == (ODD, True)
    assert (after.task_status, after.task_exit_reason) == (3, "TriggerByUser")
    assert [call.method for call in simulator.calls()] == ["GET", "GET", "GET"]


def test_alibabas_client_lists_pulled_streams(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [StopLivePullToPush(region="cn-beijing", task_id=f"t-{n}") for n in range(3)])
    request = live_models.DescribeLivePullToPushListRequest(region="cn-beijing", page_number=2, page_size=2)

    listed = alibaba(simulator).describe_live_pull_to_push_list(request).body

    assert (listed.total, listed.page_number, [task.task_id for task in listed.task_list]) == (3, 2, ["t-2"])


def test_alibabas_client_stops_gets_and_lists_an_edge_job(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [StopEdgeTranscodeJob(cluster_id="c", job_id=ODD)])
    client = alibaba(simulator)
    get = live_models.GetEdgeTranscodeJobRequest(cluster_id="c", job_id=ODD)

    before = client.get_edge_transcode_job(get).body.job
    stopped = client.stop_edge_transcode_job(live_models.StopEdgeTranscodeJobRequest(cluster_id="c", job_id=ODD)).body
    after = client.get_edge_transcode_job(get).body.job
    listed = client.list_edge_transcode_job(live_models.ListEdgeTranscodeJobRequest(cluster_id="c")).body

    assert (before.status, after.status, stopped.job_id) == ("1", "0", ODD)
    assert (listed.total_count, [job.job_id for job in listed.job_list.job]) == (1, [ODD])


def test_alibabas_client_stops_and_lists_stream_relays(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [StopLiveMPUTask(app_id="app", task_id=f"t-{n}") for n in range(2)])
    client = alibaba(simulator)

    client.stop_live_mputask(live_models.StopLiveMPUTaskRequest(app_id="app", task_id="t-0"))
    listed = client.list_rtc_mputask_detail(live_models.ListRtcMPUTaskDetailRequest(app_id="app")).body

    assert [task.task_id for task in listed.mputasks] == ["t-1"]


@pytest.mark.parametrize(
    ("stop", "describe", "before", "after"),
    [
        (StopStreamIngest(sdk_app_id=14, task_id=ODD), "DescribeStreamIngest", "InProgress", "NotExist"),
        (DeleteCloudRecording(sdk_app_id=14, task_id=ODD), "DescribeCloudRecording", "InProgress", "Exited"),
        (StopPublishCdnStream(sdk_app_id=14, task_id=ODD), None, None, None),
        (StopWebRecord(task_id=ODD), None, None, None),
    ],
    ids=lambda value: value.spec.action if isinstance(value, Operation) else "",
)
def test_tencents_client_stops_and_describes(
    simulator: SimulatorClient, stop: Operation, describe: str | None, before: str | None, after: str | None
) -> None:
    simulator.start_tasks(TRTC.name, [stop])

    def status() -> str | None:
        return tencent(simulator, describe, stop.params).Status if describe else None

    assert status() == before
    assert tencent(simulator, stop.spec.action, stop.params).RequestId
    assert status() == after
    assert [task.state for task in simulator.tasks()] == [TaskState.STOPPED]


def test_the_clients_are_accepted_with_security_tokens(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE_STS.name, [StopLiveMPUTask(app_id="app", task_id="t")])
    simulator.start_tasks(TRTC_STS.name, [StopWebRecord(task_id="t")])

    alibaba(simulator, LIVE_STS).stop_live_mputask(live_models.StopLiveMPUTaskRequest(app_id="app", task_id="t"))
    tencent(simulator, "StopWebRecord", {"TaskId": "t"}, TRTC_STS)

    assert [task.state for task in simulator.tasks()] == [TaskState.STOPPED] * 2


def test_alibabas_client_understands_the_simulators_errors(simulator: SimulatorClient) -> None:
    request = live_models.StopLivePullToPushRequest(region="cn-shanghai", task_id="t")

    with pytest.raises(ClientException) as unknown:
        alibaba(simulator).stop_live_pull_to_push(request)
    with pytest.raises(ClientException) as forged:
        alibaba(simulator, replace(LIVE, access_key_secret="another")).stop_live_pull_to_push(request)
    with pytest.raises(ClientException) as stranger:
        alibaba(simulator, replace(LIVE, access_key_id="another")).stop_live_pull_to_push(request)
    simulator.add_fault("503")
    with pytest.raises(ServerException) as down:
        alibaba(simulator).stop_live_pull_to_push(request)

    assert (unknown.value.code, unknown.value.status_code) == ("CodeTaskNotExist", 400)
    assert (forged.value.code, forged.value.status_code) == ("SignatureDoesNotMatch", 400)
    assert (stranger.value.code, stranger.value.status_code) == ("InvalidAccessKeyId.NotFound", 404)
    assert (down.value.code, down.value.status_code) == ("ServiceUnavailable", 503)
    assert simulator.summary().refusals == {"SignatureDoesNotMatch": 1, "InvalidAccessKeyId.NotFound": 1}


def test_alibabas_client_understands_a_call_over_the_limit_and_its_hint(simulator: SimulatorClient) -> None:
    simulator.settings(auto_start=True, retry_after_ms=800)
    # One call in a hundred seconds, so that a slow machine sees the same.
    simulator.set_limit(LIVE.name, "live.StopEdgeTranscodeJob", 0.01)
    client = alibaba(simulator)
    client.stop_edge_transcode_job(live_models.StopEdgeTranscodeJobRequest(cluster_id="c", job_id="j-1"))

    with pytest.raises(ThrottlingException) as throttled:
        client.stop_edge_transcode_job(live_models.StopEdgeTranscodeJobRequest(cluster_id="c", job_id="j-2"))

    assert (throttled.value.code, throttled.value.retry_after) == ("Throttling.User", 800)
    assert simulator.summary().over_limit == 1


def test_tencents_client_understands_the_simulators_errors(simulator: SimulatorClient) -> None:
    def error_code(account: Any = TRTC, **more: Any) -> str:
        with pytest.raises(TencentCloudSDKException) as raised:
            tencent(simulator, "StopStreamIngest", {"SdkAppId": 14, "TaskId": "t"}, account, **more)
        assert raised.value.requestId
        return str(raised.value.code)

    assert error_code() == "FailedOperation.TaskNotExist"
    assert error_code(replace(TRTC, access_key_secret="another")) == "AuthFailure.SignatureFailure"
    assert error_code(replace(TRTC, access_key_id="another")) == "AuthFailure.SecretIdNotFound"
    assert error_code(region="eu-frankfurt") == "UnsupportedRegion"
    simulator.set_limit(TRTC.name, "trtc.StopStreamIngest", 0.01)
    assert error_code() == "RequestLimitExceeded"
