"""The lanes of the recording client."""

from streamstop import Command, Lane
from streamstop.operations import GetMPUTaskStatus, StopMPUTask
from streamstop.testing import RecordingClient

STOP, OTHER = (StopMPUTask(app_id="app", task_id=task) for task in ("t-1", "t-2"))
STATUS = GetMPUTaskStatus(app_id="app", task_id="t-1")


def test_accounts_and_lanes_are_those_of_the_test() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True)
    assert client.accounts() == {"live-cn": "aliyun"}
    assert client.lanes() == []
    jobs = client.enqueue_many([Command(operation=operation, account="live-cn") for operation in (STOP, OTHER)])
    client.stop_room("room", [Command(operation=STOP, account="live-cn")])
    (view,) = client.lanes()
    assert (view.lane, view.waiting, view.in_flight) == (Lane("live-cn", "live.StopMPUTask"), 3, 0)
    client.end(jobs[0])
    empty = Lane("live-cn", "live.StopLivePullToPush")
    assert [view.waiting for view in client.lanes([empty, view.lane])] == [0, 2]


def test_lanes_show_what_was_paused_and_limited() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True)
    client.enqueue_many([Command(operation=operation, account="live-cn") for operation in (STOP, STATUS)])
    pause = client.pause("live-cn", reason="shared", by="ann")
    limit = client.set_limit("live-cn", "live.StopMPUTask", 2.5)
    newer = client.pause("all")
    other, limited = sorted(client.lanes(), key=lambda view: view.limit_override is not None)
    assert (limited.state, limited.limit, limited.limit_override) == ("paused", 2.5, limit)
    assert (other.operation, other.paused is not None, other.limit) == ("live.GetMPUTaskStatus", True, None)
    found = client.controls()
    assert [*found.pauses.values()] == [pause, newer] == client.pauses()
    assert found.limits == {limited.lane: limit}
    client.resume("all")
    client.resume("live-cn")
    client.clear_limit("live-cn", "live.StopMPUTask")
    assert {(view.paused, view.limit) for view in client.lanes()} == {(None, None)}
