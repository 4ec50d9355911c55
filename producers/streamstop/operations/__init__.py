"""All operations of streamstop.

To add one, declare it in its vendor's module and import it here.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from streamstop.errors import UnknownOperation, quoted
from streamstop.operations.aliyun import (
    DescribeLivePullToPush,
    DescribeLivePullToPushList,
    GetEdgeTranscodeJob,
    GetMPUTaskStatus,
    ListEdgeTranscodeJob,
    ListRtcMPUTaskDetail,
    RtcGetMPUTaskStatus,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopMPUTask,
)
from streamstop.operations.base import Kind, Meaning, Operation, Product, Spec, StatusField, Vendor
from streamstop.operations.parameters import AnyRegion
from streamstop.operations.tencent import (
    DeleteCloudRecording,
    DescribeCloudRecording,
    DescribeStreamIngest,
    StopPublishCdnStream,
    StopStreamIngest,
    StopWebRecord,
)

__all__ = [
    "OPERATIONS",
    "AnyRegion",
    "DeleteCloudRecording",
    "DescribeCloudRecording",
    "DescribeLivePullToPush",
    "DescribeLivePullToPushList",
    "DescribeStreamIngest",
    "GetEdgeTranscodeJob",
    "GetMPUTaskStatus",
    "Kind",
    "ListEdgeTranscodeJob",
    "ListRtcMPUTaskDetail",
    "Meaning",
    "Operation",
    "Product",
    "RtcGetMPUTaskStatus",
    "RtcStopMPUTask",
    "Spec",
    "StatusField",
    "StopEdgeTranscodeJob",
    "StopLiveMPUTask",
    "StopLivePullToPush",
    "StopMPUTask",
    "StopPublishCdnStream",
    "StopStreamIngest",
    "StopWebRecord",
    "Vendor",
    "find",
    "parse",
]

#: Maps operation ids to declarations, in the order of the vendors' modules.
OPERATIONS: Mapping[str, type[Operation]] = {cls.spec.id: cls for cls in Operation.__subclasses__()}


def find(operation_id: str) -> type[Operation]:
    """Return the declaration of ``<product>.<Action>``.

    Raises :class:`~streamstop.errors.UnknownOperation`, which suggests similar names.
    """
    try:
        return OPERATIONS[operation_id]
    except KeyError:
        near = difflib.get_close_matches(str(operation_id)[:100], OPERATIONS, n=3) or list(OPERATIONS)
        raise UnknownOperation(
            f"operation {quoted(str(operation_id))} is not known (did you mean {', '.join(near)}?)", field="operation"
        ) from None


def parse(operation_id: str, params: Mapping[str, Any], *, any_region: bool = False) -> Operation:
    """Create an operation from its id and its parameters under the vendor's names (``{"TaskId": "…"}``).

    With `any_region`, a Region that is not in the list is accepted.
    Raises :class:`~streamstop.errors.InvalidCommand`, which names the parameter and what is allowed.
    """
    cls = find(operation_id)
    values = dict(params)
    if any_region and isinstance(values.get("Region"), str):
        values["Region"] = AnyRegion(values["Region"])
    return cls(**values)
