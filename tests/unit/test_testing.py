"""The recording client: it refuses what the real one refuses, ends jobs as configured, and has the same methods."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from streamstop import (
    AsyncClient,
    AsyncJob,
    Client,
    Command,
    InvalidCommand,
    Matching,
    NotCancellable,
    OutcomeTimeout,
    QueueUnavailable,
    Result,
    Shutdown,
    State,
    UnknownAccount,
    UnknownDeadLetter,
)
from streamstop.operations import (
    OPERATIONS,
    GetEdgeTranscodeJob,
    GetMPUTaskStatus,
    ListRtcMPUTaskDetail,
    StopMPUTask,
    StopStreamIngest,
)
from streamstop.testing import RecordingAsyncClient, RecordingClient, RecordingShutdown

STOP = StopMPUTask(app_id="app", task_id="t-1")
OTHER = StopMPUTask(app_id="app", task_id="t-2")
STATUS = GetMPUTaskStatus(app_id="app", task_id="t-1")


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """Return what a user of the class can call."""
    return {name: member for name, member in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}


def test_the_recording_client_runs_the_real_ones_methods() -> None:
    own = [name for name, method in methods(Client).items() if methods(RecordingClient)[name] is not method]
    assert own == ["shutdown"], "that one says more of a shutdown"
    assert methods(AsyncClient) == methods(RecordingAsyncClient)
    assert not methods(Shutdown).items() ^ methods(RecordingShutdown).items()


def test_streamstop_does_not_import_its_testing() -> None:
    check = "import streamstop, sys; assert 'streamstop.testing' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_enqueued_commands_are_recorded_in_order() -> None:
    with RecordingClient() as client:
        client.enqueue(STOP, account="live-cn", priority=3, expires_in=timedelta(minutes=1))
        client.enqueue_many([Command(operation=OTHER, account="live-cn"), Command(operation=STATUS, account="x")])
    assert client.enqueued == [
        Command(operation=STOP, account="live-cn", priority=3, expires_in=timedelta(minutes=1)),
        Command(operation=OTHER, account="live-cn"),
        Command(operation=STATUS, account="x"),
    ]


def test_a_stop_ends_stopped_at_once() -> None:
    client = RecordingClient()
    job = client.enqueue(STOP, account="live-cn")
    outcome = job.outcome()
    assert (outcome.result, outcome.ok, outcome.job_id) == (Result.STOPPED, True, job.id)
    assert (outcome.operation, outcome.account) == ("live.StopMPUTask", "live-cn")
    assert job.peek() == outcome
    assert client.job(job.id) == job
    assert client.job(job.id).outcome(timeout=0) == outcome


@pytest.mark.parametrize("operation_id", [name for name, cls in OPERATIONS.items() if cls.spec.status is not None])
def test_a_status_operation_reports_a_task_that_is_over_where_its_vendor_has_a_word_for_it(operation_id: str) -> None:
    declaration = OPERATIONS[operation_id]
    values: dict[object, Any] = {str: "cn-shanghai", int: 1}
    params = {name: values[field.annotation] for name, field in declaration.model_fields.items()}
    outcome = RecordingClient().enqueue(declaration(**params), account="a").outcome()
    assert outcome.result is Result.STATUS
    assert outcome.status is not None
    assert outcome.status.over is (declaration is not GetEdgeTranscodeJob)


def test_a_list_operation_has_a_reply() -> None:
    client = RecordingClient()
    assert client.enqueue(ListRtcMPUTaskDetail(app_id="a"), account="a").outcome().reply == {}
    client.answer(ListRtcMPUTaskDetail, result="status", reply={"Total": 1})
    assert client.enqueue(ListRtcMPUTaskDetail(app_id="a"), account="a").outcome().reply == {"Total": 1}


def test_an_answer_is_chosen_by_operation() -> None:
    client = RecordingClient()
    client.answer(StopMPUTask, result="not_found", code="CodeTaskNotExist", message="no such task")
    outcome = client.enqueue(STOP, account="live-cn").outcome()
    assert (outcome.result, outcome.code, outcome.message) == (Result.NOT_FOUND, "CodeTaskNotExist", "no such task")
    assert client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="t"), account="a").outcome().ok


def test_an_answer_is_chosen_by_predicate_and_the_latest_wins() -> None:
    client = RecordingClient()
    client.answer(StopMPUTask, result=Result.REFUSED)
    client.answer(lambda command: command.operation.params["TaskId"] == "t-2", result=Result.ALREADY_STOPPED)
    jobs = client.enqueue_many([Command(operation=operation, account="a") for operation in (STOP, OTHER)])
    assert [outcome.result for outcome in client.outcomes(jobs)] == [Result.REFUSED, Result.ALREADY_STOPPED]


def test_a_status_is_read_from_the_vendors_value() -> None:
    client = RecordingClient()
    client.answer(GetMPUTaskStatus, result="status", raw=1)
    status = client.enqueue(STATUS, account="a").outcome().status
    assert status is not None
    assert (status.raw, status.state, status.over) == (1, State.RUNNING, False)


@pytest.mark.parametrize(("which", "result"), [(StopMPUTask, "status"), (GetMPUTaskStatus, "stopped")])
def test_an_answer_that_the_operation_cannot_have_is_refused(which: Any, result: str) -> None:
    with pytest.raises(ValueError, match="it does not end"):
        RecordingClient().answer(which, result=result)
    client = RecordingClient()
    client.answer(lambda _: True, result=result)
    with pytest.raises(ValueError, match="it does not end"):
        client.enqueue(STOP if which is StopMPUTask else STATUS, account="a")


def test_an_expired_job_was_never_called() -> None:
    client = RecordingClient()
    client.answer(StopMPUTask, result="expired")
    assert client.enqueue(STOP, account="a").outcome().calls == 0


def test_bad_input_is_refused_as_the_real_client_does() -> None:
    client = RecordingClient()
    with pytest.raises(InvalidCommand, match="priority"):
        client.enqueue(STOP, account="a", priority=11)
    with pytest.raises(InvalidCommand, match="command 1 must be a Command"):
        client.enqueue_many([STOP])  # type: ignore[list-item]  # that is the point
    with pytest.raises(InvalidCommand, match="expires_in"):
        client.enqueue(STOP, account="a", expires_in=timedelta(0))
    assert client.enqueue_many([]) == []
    assert client.enqueued == []


def test_an_account_that_no_worker_has_is_refused_and_nothing_is_recorded() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun", "trtc-sg": "tencent"})
    good = Command(operation=STOP, account="live-cn")
    for account, complaint in {"live-c": "did you mean live-cn", "trtc-sg": "is at vendor tencent"}.items():
        with pytest.raises(UnknownAccount, match=complaint):
            client.enqueue_many([good, Command(operation=STOP, account=account)])
    assert client.enqueued == []


def test_a_queue_that_is_unavailable_can_be_rehearsed() -> None:
    client = RecordingClient()
    job = client.enqueue(STOP, account="a")
    client.fail_with(QueueUnavailable("Redis did not answer"))
    for call in (
        lambda: client.enqueue(STOP, account="a"),
        lambda: list(client.outcomes([job])),
        job.outcome,
        job.peek,
        job.cancel,
    ):
        with pytest.raises(QueueUnavailable, match="Redis did not answer"):
            call()
    client.fail_with(None)
    assert job.outcome().ok
    assert len(client.enqueued) == 1


def test_jobs_can_be_left_open_and_ended_later() -> None:
    client = RecordingClient(leave_open=True)
    first, second, third = client.enqueue_many([Command(operation=STOP, account="a")] * 3)
    assert first.peek() is None
    assert list(client.outcomes([first, second], timeout=60)) == []
    with pytest.raises(OutcomeTimeout):
        first.outcome()
    client.end(second)
    assert [outcome.job_id for outcome in client.outcomes([first, second, third])] == [second.id]
    client.answer(StopMPUTask, result="gave_up")
    client.end()
    assert [outcome.result for outcome in client.outcomes([first, second, third])] == ["gave_up", "stopped", "gave_up"]


def test_an_open_job_can_be_cancelled_and_an_ended_one_not() -> None:
    client = RecordingClient(leave_open=True)
    job = client.enqueue(STOP, account="a")
    outcome = job.cancel()
    assert (outcome.result, outcome.calls) == (Result.CANCELLED, 0)
    assert job.outcome() == job.cancel() == outcome
    ended = client.enqueue(OTHER, account="a")
    client.end(ended)
    with pytest.raises(NotCancellable, match="has ended"):
        ended.cancel()
    with pytest.raises(NotCancellable, match="another program made"):
        client.job("foreign").cancel()
    client.end()
    assert job.outcome() == outcome


def test_a_job_that_was_never_enqueued_stays_open() -> None:
    client = RecordingClient()
    client.end(client.job("a.live.StopMPUTask.1"))
    assert client.job("a.live.StopMPUTask.1").peek() is None


def test_an_outcome_that_needs_a_person_is_a_dead_letter_until_it_is_requeued_or_dropped() -> None:
    client = RecordingClient()
    client.answer(StopMPUTask, result="refused", code="Forbidden.RAM", message="no")
    job = client.enqueue(STOP, account="live-cn", priority=2, expires_in=timedelta(minutes=1))
    client.stop_room("room", [Command(operation=OTHER, account="live-cn")])
    client.enqueue(STATUS, account="live-cn")
    dead = client.dead_letters
    assert dead.count() == 2
    (letter,) = dead.letters(Matching(room="room", code="Forbidden.RAM", younger_than=timedelta(hours=1)))
    assert (letter.result, letter.reason, letter.room) == (Result.REFUSED, "no", "room")
    assert list(dead.letters(Matching(older_than=timedelta(hours=1)))) == []
    assert list(dead.letters(Matching(room="room", died_by=letter.died_at))) == [letter]
    assert list(dead.letters(Matching(room="room", died_by=letter.died_at - timedelta(microseconds=1)))) == []
    dead.drop(letter.id)
    client.answer(StopMPUTask, result="stopped")
    again = dead.requeue(dead.get(job.id).id)
    assert again != job
    assert again.outcome().ok
    assert client.enqueued[-1] == Command(operation=STOP, account="live-cn", priority=2)
    for lost in (dead.get, dead.requeue, dead.drop):
        with pytest.raises(UnknownDeadLetter):
            lost(job.id)
    assert dead.count() == 0


def test_the_async_client_shows_accounts_lanes_and_dead_letters() -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"})
    recording.answer(StopMPUTask, result="gave_up")
    jobs = recording.enqueue_many([Command(operation=operation, account="live-cn") for operation in (STOP, OTHER)])

    async def operator(client: AsyncClient) -> None:
        assert await client.accounts() == {"live-cn": "aliyun"}
        assert await client.lanes() == []
        dead = client.dead_letters
        assert [letter.id async for letter in dead.letters()] == [job.id for job in jobs]
        recording.answer(StopMPUTask, result="stopped")
        assert (await (await dead.requeue(jobs[0].id)).outcome()).ok
        assert (await dead.get(jobs[1].id)).result is Result.GAVE_UP
        await dead.drop(jobs[1].id)
        assert await dead.count() == 0

    asyncio.run(operator(RecordingAsyncClient(recording)))


def test_the_async_client_is_the_same_over_the_recording_one() -> None:
    recording = RecordingClient(leave_open=True)

    async def service(client: AsyncClient) -> list[AsyncJob]:
        async with client:
            job = await client.enqueue(STOP, account="a")
            jobs = await client.enqueue_many([Command(operation=OTHER, account="a")])
            assert await job.peek() is None
            recording.end()
            assert (await job.outcome()).result is Result.STOPPED
            assert [outcome.job_id async for outcome in client.outcomes([job, *jobs])] == [job.id, jobs[0].id]
            assert (await client.job(job.id).outcome()).job_id == job.id
            with pytest.raises(NotCancellable):
                await job.cancel()
            return [job, *jobs]

    assert len(asyncio.run(service(RecordingAsyncClient(recording)))) == 2
    assert [command.operation for command in recording.enqueued] == [STOP, OTHER]
    assert RecordingAsyncClient().client.enqueued == []


def test_a_drain_cancels_open_jobs_and_the_tasks_of_a_room() -> None:
    client = RecordingClient(leave_open=True)
    jobs = client.enqueue_many([Command(operation=STOP, account="live-cn")] * 2)
    shutdown = client.stop_room("r", [Command(operation=STOP, account="live-cn")])
    assert client.drain("live-cn", room="r", dry_run=True).jobs == 1
    assert client.drain("live-cn", room="r").jobs == 1
    assert dict(shutdown.progress().results) == {Result.CANCELLED: 1}
    assert client.drain("live-cn", older_than=3600).jobs == 0
    drained = client.drain("live-cn", STOP.spec.id, by="ann@ops")
    assert (drained.jobs, drained.operations) == (2, {STOP.spec.id: 2})
    assert {job.outcome().message for job in jobs} == {"drained by ann@ops"}
    assert [event.by for event in client.events()][-1] == "ann@ops"
