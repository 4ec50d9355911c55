"""Alibaba Cloud's operations: ApsaraVideo Live and RTC.

A limit applies to one API and one main account, including all its RAM users. The vendor drops calls over the limit.
Codes are matched by name, because a code's HTTP status varies.
"""

from typing import Annotated

from streamstop.operations.base import Kind, Meaning, Operation, Product, StatusField, Vendor
from streamstop.operations.parameters import Name, Name55, Name64, Page, PageSize, one_of
from streamstop.outcomes import State

ALIYUN = Vendor(
    "aliyun",
    codes={
        "Throttling": Meaning.THROTTLED,
        "Throttling.*": Meaning.THROTTLED,
        "Rejected.Throttling": Meaning.THROTTLED,
        "InternalError": Meaning.TRANSIENT,
        "InternalError.*": Meaning.TRANSIENT,
        "ServiceUnavailable": Meaning.TRANSIENT,
        "ServiceUnavailable.*": Meaning.TRANSIENT,
        "SignatureNonceUsed": Meaning.SIGN_AGAIN,
        "InvalidTimeStamp.Expired": Meaning.SIGN_AGAIN,
        "CodeTaskHasStopped": Meaning.ALREADY_STOPPED,
        "CodeTaskNotExist": Meaning.NOT_FOUND,
        "JobNotFound": Meaning.NOT_FOUND,
        "InvalidTask.NotFound": Meaning.NOT_FOUND,
        "InvalidTask.IDError": Meaning.REFUSED,
        "InvalidAccessKeyId*": Meaning.KEY_REFUSED,
        "InvalidSecurityToken*": Meaning.KEY_REFUSED,
        "SignatureDoesNotMatch": Meaning.KEY_REFUSED,
        "Forbidden*": Meaning.REFUSED,
        "OperationDenied": Meaning.REFUSED,
        "LiveServiceNotFound": Meaning.REFUSED,
        "CodeInvalidAliUid": Meaning.REFUSED,
        "Missing*": Meaning.REFUSED,
        "InvalidParam*": Meaning.REFUSED,
        "InvalidApi.NotFound": Meaning.REFUSED,
    },
)
LIVE = Product(
    ALIYUN,
    "live",
    version="2016-11-01",
    host="live.aliyuncs.com",
    page="https://api.aliyun.com/document/live/{version}/{action}",
)
RTC = Product(
    ALIYUN,
    "rtc",
    version="2018-01-11",
    host="rtc.aliyuncs.com",
    page="https://api.aliyun.com/document/rtc/{version}/{action}",
)


_MPU_STATUS = StatusField(
    "Status",
    {
        0: State.WAITING,
        1: State.RUNNING,
        2: State.STOPPED,
        3: State.STOPPED,
        4: State.STOPPED,
        5: State.STOPPED,
        6: State.STOPPED,
    },
)

#: The live centre that runs the task. It is not the common parameter RegionId.
LiveRegion = Annotated[
    Name,
    one_of(
        "ap-northeast-1",
        "ap-southeast-1",
        "ap-southeast-5",
        "eu-central-1",
        "me-central-1",
        "cn-beijing",
        "cn-shanghai",
        "cn-shenzhen",
        "cn-qingdao",
        "preregion",
    ),
]


class StopMPUTask(
    Operation,
    product=LIVE,
    kind=Kind.STOP,
    limit=10,
    status_twin="live.GetMPUTaskStatus",
):
    """Stop a stream relay task, by the action's older name; see :class:`StopLiveMPUTask`."""

    app_id: Name
    task_id: Name


class GetMPUTaskStatus(
    Operation,
    product=LIVE,
    kind=Kind.STATUS,
    limit=10,
    status=_MPU_STATUS,
):
    """Query the status of a stream relay task."""

    app_id: Name
    task_id: Name


class StopLiveMPUTask(
    Operation,
    product=LIVE,
    kind=Kind.STOP,
    limit=500,
    status_twin="live.GetMPUTaskStatus",
):
    """Stop a stream relay task, by the action's current name."""

    app_id: Name64
    task_id: Name55


class StopLivePullToPush(
    Operation,
    product=LIVE,
    kind=Kind.STOP,
    limit=10,
    method="GET",
    status_twin="live.DescribeLivePullToPush",
):
    """Stop a pulled-stream relay task."""

    region: LiveRegion
    task_id: Name


class DescribeLivePullToPush(
    Operation,
    product=LIVE,
    kind=Kind.STATUS,
    limit=10,
    method="GET",
    status=StatusField(
        "TaskStatus",
        {0: State.WAITING, 1: State.RUNNING, 2: State.ABNORMAL, 3: State.STOPPED, -1: State.STOPPED},
    ),
):
    """Query a pulled-stream relay task. The vendor deletes ended tasks, so ``not_found`` after a stop means stopped."""

    region: LiveRegion
    task_id: Name


class DescribeLivePullToPushList(
    Operation,
    product=LIVE,
    kind=Kind.STATUS,
    limit=10,
    method="GET",
):
    """List the pulled-stream relay tasks of a live centre, a page at a time."""

    region: LiveRegion
    task_id: Name | None = None
    task_name: Name | None = None
    dst_url: Name | None = None
    page_number: Page | None = None
    page_size: PageSize | None = None


class StopEdgeTranscodeJob(
    Operation,
    product=LIVE,
    kind=Kind.STOP,
    limit=100,
    status_twin="live.GetEdgeTranscodeJob",
    task="JobId",
):
    """Stop an edge transcoding task. The documented limit is 6,000 calls per minute.

    ``OperationDenied`` counts as ``refused``. The vendor may also send it for a job that is not running (unverified).
    """

    cluster_id: Name
    job_id: Name


class GetEdgeTranscodeJob(
    Operation,
    product=LIVE,
    kind=Kind.STATUS,
    limit=100,
    task="JobId",
    status=StatusField(
        "Job.Status",
        {"0": State.WAITING, "1": State.RUNNING, 0: State.WAITING, 1: State.RUNNING},
    ),
):
    """Query an edge transcoding task. The vendor documents no value for a stopped job, so none counts as stopped."""

    cluster_id: Name
    job_id: Name


class ListEdgeTranscodeJob(
    Operation,
    product=LIVE,
    kind=Kind.STATUS,
    limit=100,
):
    """List the edge transcoding tasks of a data centre, a page at a time."""

    cluster_id: Name
    keyword: Name | None = None
    status: Name | None = None
    type: Name | None = None
    sort_by: Name | None = None
    page_no: Page | None = None
    page_size: PageSize | None = None


class ListRtcMPUTaskDetail(
    Operation,
    product=LIVE,
    kind=Kind.STATUS,
    limit=50,
):
    """List an application's stream relay tasks; without a TaskId, a page at a time."""

    app_id: Name
    task_id: Name | None = None
    page_no: Page | None = None
    page_size: PageSize | None = None


class RtcStopMPUTask(
    Operation,
    product=RTC,
    action="StopMPUTask",
    kind=Kind.STOP,
    limit=500,
    status_twin="rtc.GetMPUTaskStatus",
):
    """Stop a stream relay task under product rtc."""

    app_id: Name
    task_id: Name


class RtcGetMPUTaskStatus(
    Operation,
    product=RTC,
    action="GetMPUTaskStatus",
    kind=Kind.STATUS,
    limit=4000 / 60,
    status=_MPU_STATUS,
):
    """Query the status of a stream relay task under product rtc. The documented limit is 4,000 calls per minute."""

    app_id: Name
    task_id: Name
