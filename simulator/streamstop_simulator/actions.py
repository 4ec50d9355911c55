"""What the operations do and say, in the vendors' shapes: the only module that knows an operation by its name.

An operation that has no entry here is served all the same: a stop answers with a RequestId, a status operation with
the fields of its task. How a vendor speaks of a task that does not run, and where that is our choice:

=================================  ================================  ==============================================
family                             the task is not known             a stop of a task that is over
=================================  ================================  ==============================================
live and rtc GetMPUTaskStatus      404 ``InvalidTask.NotFound``      the same (our choice: the pages say nothing)
live.DescribeLivePullToPush        400 ``CodeTaskNotExist``          400 ``CodeTaskHasStopped``
live.GetEdgeTranscodeJob           404 ``JobNotFound``               the same (our choice: what 403
                                                                     ``OperationDenied`` means is unverified)
trtc                               ``FailedOperation.TaskNotExist``  ``FailedOperation.TaskFinished``
=================================  ================================  ==============================================

Status operations of a task that is over: MPU ``Status`` 3 (stopped by a call) or 2 (ended by itself); pull-to-push
``TaskStatus`` 3 with ``TriggerByUser``, or -1 with ``OverEndTime``; an edge job ``Status`` "0"; an ingest ``NotExist``,
and so is an unknown one; a recording ``Exited``. With the setting `forget_ended`, a task that is over is not known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streamstop.operations import Kind, Operation
from streamstop_simulator.tasks import Phase, Task, TaskState, family_of
from streamstop_simulator.wire import Refusal

Fields = dict[str, Any]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class _Manners:
    """The codes by which a family speaks of tasks that do not run: HTTP status, code, message."""

    unknown: tuple[int | None, str, str]
    over: tuple[int | None, str, str]


_MPU = (404, "InvalidTask.NotFound", "The specified task does not exist.")
_EDGE = (404, "JobNotFound", "The specified job does not exist.")
_MANNERS = {
    "live.DescribeLivePullToPush": _Manners(
        (400, "CodeTaskNotExist", "Task does not exist."),
        over=(400, "CodeTaskHasStopped", "The task has been stopped."),
    ),
    "live.GetEdgeTranscodeJob": _Manners(_EDGE, over=_EDGE),
}
_USUAL = {
    "aliyun": _Manners(_MPU, over=_MPU),
    "tencent": _Manners(
        (None, "FailedOperation.TaskNotExist", "The task does not exist."),
        over=(None, "FailedOperation.TaskFinished", "The task has ended when calling the interface."),
    ),
}

#: The parameters that a stop's reply repeats.
_REPEATED = {
    "live.StopLivePullToPush": "TaskId",
    "live.StopEdgeTranscodeJob": "JobId",
    "trtc.StopPublishCdnStream": "TaskId",
    "trtc.DeleteCloudRecording": "TaskId",
}


def carry_out(operation: type[Operation], params: Params, task: Task | None, now: float) -> Fields:
    """Stop the task, or tell of it: return the reply's fields. `now` is by the monotonic clock.

    `task` is None where the vendor does not know it. Raises :class:`Refusal`.
    """
    spec = operation.spec
    manners = _MANNERS.get(family_of(operation)) or _USUAL[spec.product.vendor.name]
    if spec.kind is Kind.STATUS and task is None and spec.id in _UNKNOWN_IS_A_STATUS:
        return dict(_UNKNOWN_IS_A_STATUS[spec.id])
    if task is None:
        raise _refusal(manners.unknown)
    if spec.kind is Kind.STATUS:
        return _STATUS.get(spec.id, _described)(task, task.state(now))
    if task.state(now) is not TaskState.RUNNING:
        raise _refusal(manners.over)
    task.stop(spec.id, now)
    repeated = _REPEATED.get(spec.id)
    return {} if repeated is None else {repeated: params[repeated]}


def lists(operation: type[Operation]) -> bool:
    """Return whether the operation lists tasks instead of speaking of one."""
    return operation.spec.id in _LISTINGS


def listing(operation: type[Operation], params: Params, tasks: list[Task], now: float) -> Fields:
    """Return the reply of an operation that lists: the page that `params` ask for."""
    return _LISTINGS[operation.spec.id](params, tasks, now)


def _refusal(words: tuple[int | None, str, str]) -> Refusal:
    status, code, message = words
    return Refusal(code, message, status)


def _described(task: Task, state: TaskState) -> Fields:
    return {**task.params, "Status": state}


def _mpu_status(task: Task, state: TaskState) -> Fields:
    over = {TaskState.STOPPED: 3, TaskState.ENDED: 2}
    return {"Status": over.get(state, 0 if task.phase is Phase.WAITING else 1)}


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
    known = {name: task.params[name] for name in ("TaskId", "TaskName", "DstUrl") if name in task.params}
    return defaults | known


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
    alive = "Idle" if task.phase is Phase.WAITING else "InProgress"
    return {"TaskId": task.params["TaskId"], "Status": alive if state is TaskState.RUNNING else "Exited"}


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
    kept = [
        _pull_to_push(task, task.state(now))
        for task in tasks
        if all(params.get(name, task.params.get(name)) == task.params.get(name) for name in ("Region", "TaskId"))
        and all(params.get(name) in {None, _pull_to_push_info(task).get(name)} for name in ("TaskName", "DstUrl"))
    ]
    number, size = int(params.get("PageNumber", 1)), int(params.get("PageSize", 10))
    return {"PageNumber": number, "PageSize": size, "Total": len(kept), "TaskList": _page(kept, number, size)}


def _list_edge(params: Params, tasks: list[Task], now: float) -> Fields:
    jobs = [_edge_job(task, task.state(now)) for task in tasks if task.params["ClusterId"] == params["ClusterId"]]
    kept = [
        job
        for job in jobs
        if params.get("Status") in {None, job["Status"]}
        and params.get("Type") in {None, job["Type"]}
        and str(params.get("Keyword", "")) in f"{job['JobId']} {job['Name']}"
    ]
    page = _page(kept, int(params.get("PageNo", 1)), int(params.get("PageSize", 20)))
    return {"TotalCount": len(kept), "JobList": {"Job": page}}


def _list_mpu(params: Params, tasks: list[Task], now: float) -> Fields:
    kept = [
        {"AppId": task.params["AppId"], "TaskId": task.params["TaskId"], "ChannelId": f"room-{task.params['TaskId']}"}
        for task in tasks
        if task.state(now) is TaskState.RUNNING
        and task.params["AppId"] == params["AppId"]
        and params.get("TaskId") in {None, task.params["TaskId"]}
    ]
    return {"MPUTasks": _page(kept, int(params.get("PageNo", 1)), int(params.get("PageSize", 10)))}


_LISTINGS: Mapping[str, Callable[[Params, list[Task], float], Fields]] = {
    "live.DescribeLivePullToPushList": _list_pull_to_push,
    "live.ListEdgeTranscodeJob": _list_edge,
    "live.ListRtcMPUTaskDetail": _list_mpu,
}


def _page(entries: list[Fields], number: int, size: int) -> list[Fields]:
    return entries[(number - 1) * size : number * size]


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
