"""The effect and the reply of each operation, in the vendors' format. No other module refers to operations by name.

An operation without an entry here has a default reply: a stop returns a RequestId, a status operation returns the
parameters of its task. The errors for tasks that do not run, and where they are our choice:

=================================  ================================  ==============================================
family                             the task is unknown               a stop of a task that has ended
=================================  ================================  ==============================================
live and rtc GetMPUTaskStatus      404 ``InvalidTask.NotFound``      the same (our choice: undocumented)
live.DescribeLivePullToPush        400 ``CodeTaskNotExist``          400 ``CodeTaskHasStopped``
live.GetEdgeTranscodeJob           404 ``JobNotFound``               the same (our choice: the meaning of 403
                                                                     ``OperationDenied`` is unverified)
trtc                               ``FailedOperation.TaskNotExist``  ``FailedOperation.TaskFinished``
=================================  ================================  ==============================================

The status of a task that has ended: MPU ``Status`` 3 (stopped by a call) or 2 (ended by itself); pull-to-push
``TaskStatus`` 3 with ``TriggerByUser``, or -1 with ``OverEndTime``; edge job ``Status`` "0"; ingest ``NotExist``, also
for an unknown ingest; recording ``Exited``. With the setting `forget_ended`, a task that has ended is unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streamstop.operations import Kind, Operation
from streamstop_simulator.messages import VendorError
from streamstop_simulator.tasks import Phase, Task, TaskState, family_of

Fields = dict[str, Any]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class _TaskErrors:
    """The errors of a family for tasks that do not run: HTTP status, code, message."""

    unknown: tuple[int | None, str, str]
    ended: tuple[int | None, str, str]


_MPU = (404, "InvalidTask.NotFound", "The specified task does not exist.")
_EDGE = (404, "JobNotFound", "The specified job does not exist.")
_TASK_ERRORS = {
    "live.DescribeLivePullToPush": _TaskErrors(
        (400, "CodeTaskNotExist", "Task does not exist."),
        ended=(400, "CodeTaskHasStopped", "The task has been stopped."),
    ),
    "live.GetEdgeTranscodeJob": _TaskErrors(_EDGE, ended=_EDGE),
}
_VENDOR_TASK_ERRORS = {
    "aliyun": _TaskErrors(_MPU, ended=_MPU),
    "tencent": _TaskErrors(
        (None, "FailedOperation.TaskNotExist", "The task does not exist."),
        ended=(None, "FailedOperation.TaskFinished", "The task has ended when calling the interface."),
    ),
}

#: The parameter that the reply of a stop repeats.
_REPEATED_PARAMETER = {
    "live.StopLivePullToPush": "TaskId",
    "live.StopEdgeTranscodeJob": "JobId",
    "trtc.StopPublishCdnStream": "TaskId",
    "trtc.DeleteCloudRecording": "TaskId",
}


def carry_out(operation: type[Operation], params: Params, task: Task | None, now: float) -> Fields:
    """Stop the task, or describe it, and return the reply's fields. `now` is a time of the monotonic clock.

    `task` is None if the vendor does not know it. Raises :class:`VendorError`.
    """
    spec = operation.spec
    errors = _TASK_ERRORS.get(family_of(operation)) or _VENDOR_TASK_ERRORS[spec.product.vendor.name]
    if spec.kind is Kind.STATUS and task is None and spec.id in _UNKNOWN_IS_A_STATUS:
        return dict(_UNKNOWN_IS_A_STATUS[spec.id])
    if task is None:
        raise _vendor_error(errors.unknown)
    if spec.kind is Kind.STATUS:
        return _STATUS.get(spec.id, _described)(task, task.state(now))
    if task.state(now) is not TaskState.RUNNING:
        raise _vendor_error(errors.ended)
    task.stop(spec.id, now)
    repeated = _REPEATED_PARAMETER.get(spec.id)
    return {} if repeated is None else {repeated: params[repeated]}


def lists(operation: type[Operation]) -> bool:
    """Return whether the operation lists tasks."""
    return operation.spec.id in _LISTINGS


def listing(operation: type[Operation], params: Params, tasks: list[Task], now: float) -> Fields:
    """Return the reply of an operation that lists tasks: the page that `params` select."""
    return _LISTINGS[operation.spec.id](params, tasks, now)


def _vendor_error(error: tuple[int | None, str, str]) -> VendorError:
    status, code, message = error
    return VendorError(code, message, status)


def _described(task: Task, state: TaskState) -> Fields:
    return {**task.params, "Status": state}


def _mpu_status(task: Task, state: TaskState) -> Fields:
    ended = {TaskState.STOPPED: 3, TaskState.ENDED: 2}
    return {"Status": ended.get(state, 0 if task.phase is Phase.WAITING else 1)}


def _pull_to_push(task: Task, state: TaskState) -> Fields:
    phases = {Phase.WAITING: 0, Phase.RUNNING: 1, Phase.ABNORMAL: 2}
    fields: Fields = {"TaskId": task.params["TaskId"], "TaskInfo": _pull_to_push_info(task)}
    match state:
        case TaskState.STOPPED:
            return fields | {"TaskStatus": 3, "TaskExitReason": "TriggerByUser"}
        case TaskState.ENDED:
            return fields | {"TaskStatus": -1, "TaskExitReason": "OverEndTime"}
        case TaskState.RUNNING if task.phase is Phase.ABNORMAL:
            return fields | {"TaskStatus": 2, "TaskInvalidReason": "PullStreamFailed"}
        case TaskState.RUNNING:
            return fields | {"TaskStatus": phases[task.phase]}


def _pull_to_push_info(task: Task) -> Fields:
    defaults: Fields = {
        "DstUrl": "rtmp://push.example.com/app/stream",
        "SourceType": "live",
        "SourceUrls": ["rtmp://pull.example.com/app/stream"],
        "StartTime": _iso(task.started_at),
    }
    given = {name: task.params[name] for name in ("TaskId", "TaskName", "DstUrl") if name in task.params}
    return defaults | given


def _edge_job(task: Task, state: TaskState) -> Fields:
    running = state is TaskState.RUNNING and task.phase is not Phase.WAITING
    return {
        "JobId": task.params["JobId"],
        "Name": task.params.get("Name", f"job-{task.params['JobId']}"),
        "Type": task.params.get("Type", "common"),
        "Status": "1" if running else "0",
        "CreateTime": _iso(task.started_at),
        "LastStartAt": _iso(task.started_at),
    }


def _recording(task: Task, state: TaskState) -> Fields:
    running = "Idle" if task.phase is Phase.WAITING else "InProgress"
    return {"TaskId": task.params["TaskId"], "Status": running if state is TaskState.RUNNING else "Exited"}


_STATUS: Mapping[str, Callable[[Task, TaskState], Fields]] = {
    "live.GetMPUTaskStatus": _mpu_status,
    "rtc.GetMPUTaskStatus": _mpu_status,
    "live.DescribeLivePullToPush": lambda task, state: {
        "RetCode": 0,
        "Description": "OK",
        **_pull_to_push(task, state),
    },
    "live.GetEdgeTranscodeJob": lambda task, state: {"Job": _edge_job(task, state)},
    "trtc.DescribeStreamIngest": lambda _, state: {
        "Status": "InProgress" if state is TaskState.RUNNING else "NotExist"
    },
    "trtc.DescribeCloudRecording": _recording,
}
_UNKNOWN_IS_A_STATUS: Mapping[str, Fields] = {"trtc.DescribeStreamIngest": {"Status": "NotExist"}}


def _list_pull_to_push(params: Params, tasks: list[Task], now: float) -> Fields:
    matching = [
        _pull_to_push(task, task.state(now))
        for task in tasks
        if all(params.get(name, task.params.get(name)) == task.params.get(name) for name in ("Region", "TaskId"))
        and all(params.get(name) in {None, _pull_to_push_info(task).get(name)} for name in ("TaskName", "DstUrl"))
    ]
    number, size = int(params.get("PageNumber", 1)), int(params.get("PageSize", 10))
    return {"PageNumber": number, "PageSize": size, "Total": len(matching), "TaskList": _page(matching, number, size)}


def _list_edge(params: Params, tasks: list[Task], now: float) -> Fields:
    jobs = [_edge_job(task, task.state(now)) for task in tasks if task.params["ClusterId"] == params["ClusterId"]]
    matching = [
        job
        for job in jobs
        if params.get("Status") in {None, job["Status"]}
        and params.get("Type") in {None, job["Type"]}
        and str(params.get("Keyword", "")) in f"{job['JobId']} {job['Name']}"
    ]
    page = _page(matching, int(params.get("PageNo", 1)), int(params.get("PageSize", 20)))
    return {"TotalCount": len(matching), "JobList": {"Job": page}}


def _list_mpu(params: Params, tasks: list[Task], now: float) -> Fields:
    matching = [
        {"AppId": task.params["AppId"], "TaskId": task.params["TaskId"], "ChannelId": f"room-{task.params['TaskId']}"}
        for task in tasks
        if task.state(now) is TaskState.RUNNING
        and task.params["AppId"] == params["AppId"]
        and params.get("TaskId") in {None, task.params["TaskId"]}
    ]
    return {"MPUTasks": _page(matching, int(params.get("PageNo", 1)), int(params.get("PageSize", 10)))}


_LISTINGS: Mapping[str, Callable[[Params, list[Task], float], Fields]] = {
    "live.DescribeLivePullToPushList": _list_pull_to_push,
    "live.ListEdgeTranscodeJob": _list_edge,
    "live.ListRtcMPUTaskDetail": _list_mpu,
}


def _page(entries: list[Fields], number: int, size: int) -> list[Fields]:
    return entries[(number - 1) * size : number * size]


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
