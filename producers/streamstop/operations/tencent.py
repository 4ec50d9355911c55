"""Tencent Cloud's operations: TRTC.

A limit applies to one API, access region and (sub-)account. Calls from the console and the vendor's CLI count too, so
other callers can use up the quota. Errors have HTTP status 200.
"""

from streamstop.operations.base import Kind, Meaning, Operation, Product, StatusField, Vendor
from streamstop.operations.parameters import Name, Number
from streamstop.outcomes import State

TENCENT = Vendor(
    "tencent",
    codes={
        "RequestLimitExceeded": Meaning.THROTTLED,
        "RequestLimitExceeded.*": Meaning.THROTTLED,
        "OperationDenied.FreqOverLimit": Meaning.THROTTLED,
        "FailedOperation.RestrictedFrequency": Meaning.THROTTLED,
        "InternalError": Meaning.TRANSIENT,
        "InternalError.*": Meaning.TRANSIENT,
        "ServiceUnavailable": Meaning.TRANSIENT,
        "ServiceUnavailable.*": Meaning.TRANSIENT,
        "ResourceUnavailable": Meaning.TRANSIENT,
        "ResourceUnavailable.*": Meaning.TRANSIENT,
        "ResourceInsufficient": Meaning.TRANSIENT,
        "ResourceInsufficient.*": Meaning.TRANSIENT,
        "AuthFailure.SignatureExpire": Meaning.SIGN_AGAIN,
        "FailedOperation.TaskFinished": Meaning.ALREADY_STOPPED,
        "FailedOperation.TaskNotExist": Meaning.NOT_FOUND,
        "FailedOperation.RoomNotExist": Meaning.NOT_FOUND,
        "ResourceNotFound*": Meaning.NOT_FOUND,
        "AuthFailure*": Meaning.KEY_REFUSED,
        "AuthFailure.UnauthorizedOperation": Meaning.REFUSED,
        "UnauthorizedOperation*": Meaning.REFUSED,
        "InvalidParameter*": Meaning.REFUSED,
        "MissingParameter*": Meaning.REFUSED,
        "UnsupportedRegion": Meaning.REFUSED,
        "InvalidAction": Meaning.REFUSED,
        "NoSuchVersion": Meaning.REFUSED,
        "LimitExceeded*": Meaning.REFUSED,  # a quota, not a rate
    },
)
TRTC = Product(
    TENCENT,
    "trtc",
    version="2019-07-22",
    host="trtc.tencentcloudapi.com",
    page="https://console.cloud.tencent.com/api/explorer?Product=trtc&Version={version}&Action={action}",
)


class StopStreamIngest(
    Operation,
    product=TRTC,
    kind=Kind.STOP,
    limit=20,
    status_twin="trtc.DescribeStreamIngest",
):
    """Stop a pull-stream relay task. ``TaskNotExist`` can mean that the task ended long ago."""

    sdk_app_id: Number
    task_id: Name


class DescribeStreamIngest(
    Operation,
    product=TRTC,
    kind=Kind.STATUS,
    limit=20,
    status=StatusField("Status", {"InProgress": State.RUNNING, "NotExist": State.STOPPED}),
):
    """Query a pull-stream relay task. The vendor reports an ended task as ``NotExist``."""

    sdk_app_id: Number
    task_id: Name


class StopPublishCdnStream(
    Operation,
    product=TRTC,
    kind=Kind.STOP,
    limit=20,
):
    """Stop relaying to a CDN. The vendor accepts a TaskId for 30 days; after that the task keeps running."""

    sdk_app_id: Number
    task_id: Name


class DeleteCloudRecording(
    Operation,
    product=TRTC,
    kind=Kind.STOP,
    limit=20,
    status_twin="trtc.DescribeCloudRecording",
):
    """Stop an on-cloud recording."""

    sdk_app_id: Number
    task_id: Name


class DescribeCloudRecording(
    Operation,
    product=TRTC,
    kind=Kind.STATUS,
    limit=20,
    status=StatusField(
        "Status",
        {"Idle": State.WAITING, "InProgress": State.RUNNING, "Exited": State.STOPPED},
    ),
):
    """Query an on-cloud recording."""

    sdk_app_id: Number
    task_id: Name


class StopWebRecord(
    Operation,
    product=TRTC,
    kind=Kind.STOP,
    limit=20,
):
    """Stop recording a web page."""

    task_id: Name
