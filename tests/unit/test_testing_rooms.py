"""Rooms of the recording client: the real one's rules, without Redis and without waiting."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from streamstop import (
    AsyncClient,
    Command,
    InvalidCommand,
    OutcomeTimeout,
    QueueUnavailable,
    Result,
    ShutdownStatus,
    UnknownAccount,
    UnknownShutdown,
)
from streamstop.operations import GetMPUTaskStatus, StopMPUTask, StopPublishCdnStream, StopStreamIngest
from streamstop.testing import RecordingAsyncClient, RecordingClient


def stop(task: str, account: str = "live-cn") -> Command:
    return Command(operation=StopMPUTask(app_id="app", task_id=task), account=account)


def test_registered_and_passed_tasks_are_each_stopped_once() -> None:
    client = RecordingClient()
    assert client.register_many("room", [stop("a"), stop("b"), stop("a")]) is None
    assert client.register("room", stop("c").operation, account="live-cn") is None
    assert client.unregister("room", stop("c").operation, account="live-cn")
    assert not client.unregister("room", stop("c").operation, account="live-cn")
    assert client.room("room").tasks == (stop("a"), stop("b"))
    shutdown = client.stop_room("room", [stop("b"), stop("d")])
    progress = shutdown.wait()
    assert (progress.status, progress.total, progress.results) == (ShutdownStatus.DONE, 3, {Result.STOPPED: 3})
    assert [(lane.operation, lane.total, lane.ended) for lane in progress.lanes] == [("live.StopMPUTask", 3, 3)]
    assert (progress.pending, progress.seconds_left) == (0, 0.0)
    assert list(shutdown.watch(timeout=60)) == [progress]
    assert [outcome.result for outcome in shutdown.outcomes()] == [Result.STOPPED] * 3
    assert client.room("room").tasks == (), "a stop that ended well takes its task out"
    assert client.room("room").shutdown == shutdown.id
    assert client.shutdown(shutdown.id) == shutdown
    assert [one.commands for one in client.shutdowns] == [[stop("a"), stop("b"), stop("d")]]
    assert client.recent_shutdowns() == [shutdown]
    assert client.enqueued == []


def test_a_room_with_nothing_in_it_is_done_at_once() -> None:
    progress = RecordingClient(leave_open=True).stop_room("empty").progress()
    assert (progress.status, progress.total, progress.done_at) == (ShutdownStatus.DONE, 0, progress.opened_at)


def test_tasks_that_are_not_stopped_need_attention_and_stay_registered() -> None:
    client = RecordingClient()
    client.answer(lambda command: command == stop("b"), result="not_found", code="CodeTaskNotExist")
    client.register_many("room", [stop("a"), stop("b")])
    shutdown = client.stop_room("room")
    assert shutdown.wait().status is ShutdownStatus.NEEDS_ATTENTION
    assert [outcome.code for outcome in shutdown.outcomes() if not outcome.ok] == ["CodeTaskNotExist"]
    assert client.room("room").tasks == (stop("b"),)


def test_tasks_registered_in_a_closing_or_closed_room_join_its_shutdown_until_it_is_reopened() -> None:
    client = RecordingClient(leave_open=True)
    client.register_many("room", [stop("a")])
    shutdown = client.stop_room("room")
    assert client.register("room", stop("late").operation, account="live-cn") == shutdown
    assert client.stop_room("room", [stop("a"), stop("passed")]) == shutdown
    assert shutdown.progress().total == shutdown.progress().pending == 3
    assert not client.reopen_room("room")
    client.end()
    assert shutdown.wait().results == {Result.STOPPED: 3}
    assert client.register_many("room", [stop("later")]) == shutdown
    client.end()
    assert client.reopen_room("room")
    assert client.register_many("room", [stop("next")]) is None
    assert client.stop_room("room") != shutdown


def test_an_open_shutdown_is_a_timeout_at_once() -> None:
    client = RecordingClient(leave_open=True)
    shutdown = client.stop_room("room", [stop("a")])
    assert [progress.status for progress in shutdown.watch(timeout=60)] == [ShutdownStatus.OPEN]
    with pytest.raises(OutcomeTimeout):
        shutdown.wait(timeout=60)
    assert list(shutdown.outcomes()) == []


def test_ending_one_job_leaves_shutdowns_open() -> None:
    client = RecordingClient(leave_open=True)
    job = client.enqueue(stop("a").operation, account="live-cn")
    shutdown = client.stop_room("room", [stop("b")])
    client.end(job)
    assert shutdown.progress().status is ShutdownStatus.OPEN


def test_a_cancelled_shutdown_keeps_its_tasks_registered_and_a_new_one_can_be_opened() -> None:
    client = RecordingClient(leave_open=True)
    client.register_many("room", [stop("a")])
    shutdown = client.stop_room("room")
    assert shutdown.cancel()
    assert not shutdown.cancel()
    assert (shutdown.wait().status, shutdown.wait().results) == (ShutdownStatus.CANCELLED, {Result.CANCELLED: 1})
    assert client.room("room").tasks == (stop("a"),)
    assert client.register("room", stop("b").operation, account="live-cn") is None
    again = client.stop_room("room")
    assert again != shutdown
    assert again.progress().total == 2


def test_a_verified_shutdown_says_of_each_stop_whether_it_can_be_verified() -> None:
    client = RecordingClient()
    client.answer(lambda command: command.operation.params.get("TaskId") == "gone", result="not_found")
    operations = [
        StopStreamIngest(sdk_app_id=1, task_id="t"),
        StopStreamIngest(sdk_app_id=1, task_id="gone"),
        StopPublishCdnStream(sdk_app_id=1, task_id="t"),
    ]
    commands = [Command(operation=operation, account="trtc") for operation in operations]
    shutdown = client.stop_room("room", commands, verify=True, callback="https://service.example/closed")
    assert [outcome.result for outcome in shutdown.outcomes()] == ["verified", "not_found", "unverifiable"]
    (recorded,) = client.shutdowns
    assert (recorded.verify, recorded.callback) == (True, {"url": "https://service.example/closed"})


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda client: client.stop_room(""), "must be text that is not blank"),
        (lambda client: client.room("r" * 257), "longer than 256 bytes"),
        (lambda client: client.reopen_room("a\nb"), "control characters"),
        (lambda client: client.stop_room("room", [stop("a").operation]), "command 1 must be a Command"),
        (lambda client: client.stop_room("room", callback="http://service.example"), "callback must be"),
        (
            lambda client: client.register("room", GetMPUTaskStatus(app_id="a", task_id="t"), account="live-cn"),
            "is not a stop",
        ),
        (
            lambda client: client.stop_room(
                "room", [Command(operation=stop("a").operation, account="live-cn", expires_in=timedelta(1))]
            ),
            "expires_in cannot be set",
        ),
    ],
)
def test_bad_input_is_refused_as_the_real_client_does(
    call: Callable[[RecordingClient], object], complaint: str
) -> None:
    client = RecordingClient()
    with pytest.raises(InvalidCommand, match=complaint):
        call(client)
    assert client.shutdowns == []


def test_an_account_that_no_worker_has_is_refused_and_nothing_is_registered_or_stopped() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"})
    with pytest.raises(UnknownAccount):
        client.register_many("room", [stop("a"), stop("b", "live-c")])
    with pytest.raises(UnknownAccount):
        client.stop_room("room", [stop("a"), stop("b", "live-c")])
    assert client.room("room").tasks == ()
    assert client.shutdowns == []


def test_a_shutdown_that_was_never_opened_is_unknown() -> None:
    unknown = RecordingClient().shutdown("nothing")
    with pytest.raises(UnknownShutdown):
        unknown.progress()
    assert list(unknown.outcomes()) == []
    assert not unknown.cancel()


def test_a_queue_that_is_unavailable_can_be_rehearsed() -> None:
    client = RecordingClient()
    shutdown = client.stop_room("room", [stop("a")])
    client.fail_with(QueueUnavailable("Redis did not answer"))
    for call in (
        lambda: client.register_many("room", [stop("b")]),
        lambda: client.unregister("room", stop("b").operation, account="live-cn"),
        lambda: client.room("room"),
        lambda: client.stop_room("room"),
        lambda: client.reopen_room("room"),
        shutdown.progress,
        shutdown.wait,
        shutdown.cancel,
        lambda: list(shutdown.outcomes()),
    ):
        with pytest.raises(QueueUnavailable):
            call()


def test_the_async_client_closes_rooms_over_the_recording_one() -> None:
    recording = RecordingClient(leave_open=True)

    async def service(client: AsyncClient) -> None:
        async with client:
            assert await client.register("room", stop("a").operation, account="live-cn") is None
            shutdown = await client.stop_room("room", [stop("b")])
            assert await client.register_many("room", [stop("late")]) == shutdown
            with pytest.raises(OutcomeTimeout):
                await shutdown.wait()
            assert not await client.reopen_room("room")
            recording.end()
            assert (await shutdown.wait()).total == 3
            assert [outcome.result async for outcome in shutdown.outcomes()] == [Result.STOPPED] * 3
            assert not await client.shutdown(shutdown.id).cancel()

    asyncio.run(service(RecordingAsyncClient(recording)))
