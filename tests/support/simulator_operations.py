"""An example of each operation, and the account that calls it."""

from streamstop.operations import (
    OPERATIONS,
    DescribeCloudRecording,
    DescribeLivePullToPush,
    DescribeStreamIngest,
    GetEdgeTranscodeJob,
    GetMPUTaskStatus,
    Kind,
    Operation,
    RtcGetMPUTaskStatus,
)
from streamstop_worker.accounts import Account
from tests.support.simulated_vendors import LIVE, TRTC

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


MPU, RTC_MPU = GetMPUTaskStatus(app_id="app", task_id="t"), RtcGetMPUTaskStatus(app_id="app", task_id="t")
PULL = DescribeLivePullToPush(region="cn-shanghai", task_id="t")
EDGE = GetEdgeTranscodeJob(cluster_id="c", job_id="j")
INGEST = DescribeStreamIngest(sdk_app_id=1, task_id="t")
RECORDING = DescribeCloudRecording(sdk_app_id=1, task_id="t")
