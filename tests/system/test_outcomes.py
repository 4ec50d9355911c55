"""Every row of the vendors' error tables, through a real worker: the job ends as the table says."""

from collections.abc import Sequence

import pytest
from celery import Celery
from celery.result import AsyncResult

from streamstop import Job, Outcome, Result, State
from streamstop.errors import JobFailed
from streamstop.operations import (
    DescribeLivePullToPush,
    DescribeStreamIngest,
    GetMPUTaskStatus,
    Meaning,
    Operation,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopStreamIngest,
)
from tests.support.polling import eventually
from tests.support.redis_content import everything_in
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World

ENDS = {
    Meaning.ALREADY_STOPPED: (Result.ALREADY_STOPPED, 1),
    Meaning.NOT_FOUND: (Result.NOT_FOUND, 1),
    Meaning.REFUSED: (Result.REFUSED, 1),
    Meaning.KEY_REFUSED: (Result.REFUSED, 1),
    Meaning.TRANSIENT: (Result.STOPPED, 2),
    Meaning.SIGN_AGAIN: (Result.STOPPED, 2),
    Meaning.THROTTLED: (Result.STOPPED, 1),
}
TIMEOUT = 60


def rows(operation: type[Operation], *meanings: Meaning) -> list[tuple[str, Meaning]]:
    """Return a code for every row of the tables that hold for `operation`."""
    codes = dict(operation.spec.product.vendor.codes) | dict(operation.spec.codes)
    return [(key.replace("*", "Made.Up"), meaning) for key, meaning in codes.items() if meaning in meanings]


def test_every_code_of_alibabas_table_ends_as_the_table_says(shared_world: World) -> None:
    table = rows(RtcStopMPUTask, *(set(Meaning) - {Meaning.THROTTLED}))
    stops = [RtcStopMPUTask(app_id="table", task_id=code) for code, _ in table]
    shared_world.simulator.start_tasks(ALIYUN, stops)
    for (code, _), stop in zip(table, stops, strict=True):
        shared_world.simulator.add_fault("code", account=ALIYUN, code=code, task=stop.params, status=400)
    check(shared_world, ALIYUN, table, stops)


def test_every_code_of_tencents_table_ends_as_the_table_says(shared_world: World) -> None:
    table = rows(StopStreamIngest, *(set(Meaning) - {Meaning.THROTTLED}))
    stops = [StopStreamIngest(sdk_app_id=1400000001, task_id=f"{code}+/=.") for code, _ in table]
    shared_world.simulator.start_tasks(TENCENT, stops)
    for (code, _), stop in zip(table, stops, strict=True):
        shared_world.simulator.add_fault("code", account=TENCENT, code=code, task=stop.params)
    check(shared_world, TENCENT, table, stops)


def check(world: World, account: str, table: list[tuple[str, Meaning]], stops: Sequence[Operation]) -> None:
    """Send the stops. Five refused keys in a row would hold the account: each is followed by a good answer."""
    ended: dict[str, Outcome] = {}
    together: dict[str, Job] = {}
    for (code, meaning), stop in zip(table, stops, strict=True):
        if meaning is Meaning.KEY_REFUSED:
            ended[code] = world.client.enqueue(stop, account=account).outcome(TIMEOUT)
            good = world.client.enqueue(stop, account=account)  # its fault is used up
            assert good.outcome(TIMEOUT).result is Result.STOPPED
        else:
            together[code] = world.client.enqueue(stop, account=account)
    ended |= {code: job.outcome(TIMEOUT) for code, job in together.items()}
    found = {code: (outcome.result, outcome.attempts) for code, outcome in ended.items()}
    assert found == {code: ENDS[meaning] for code, meaning in table}
    failed = {code: ended[code].code for code, (_, attempts) in found.items() if attempts == 1}
    assert failed == {code: code for code in failed}, "the outcome tells the vendor's own code"


@pytest.mark.parametrize(
    ("account", "stop", "code"),
    [
        (ALIYUN, StopLivePullToPush(region="cn-shanghai", task_id="throttled"), "Throttling"),
        (ALIYUN, StopEdgeTranscodeJob(cluster_id="c", job_id="throttled"), "Throttling.User"),
        (ALIYUN, StopLiveMPUTask(app_id="a", task_id="throttled"), "Rejected.Throttling"),
        (TENCENT, StopStreamIngest(sdk_app_id=1, task_id="throttled"), "RequestLimitExceeded"),
    ],
)
def test_throttling_delays_a_job_and_never_fails_it(
    shared_world: World, account: str, stop: Operation, code: str
) -> None:
    shared_world.simulator.start_tasks(account, [stop])
    shared_world.simulator.add_fault("code", account=account, code=code, task=stop.params, times=2)
    outcome = shared_world.client.enqueue(stop, account=account).outcome(TIMEOUT)
    assert (outcome.result, outcome.attempts, outcome.calls) == (Result.STOPPED, 1, 3)


@pytest.mark.parametrize(
    "fault", ["500", "503", "reset", "half_body", "html"], ids=lambda fault: f"an answer that is a {fault}"
)
def test_two_transient_faults_and_a_success_are_one_stop_with_three_attempts(shared_world: World, fault: str) -> None:
    stop = StopStreamIngest(sdk_app_id=3, task_id=f"flaky-{fault}")
    shared_world.simulator.start_tasks(TENCENT, [stop])
    shared_world.simulator.add_fault(fault, account=TENCENT, task=stop.params, times=2)
    outcome = shared_world.client.enqueue(stop, account=TENCENT).outcome(TIMEOUT)
    assert (outcome.result, outcome.attempts, outcome.calls) == (Result.STOPPED, 3, 3)


def test_a_stop_whose_answer_was_lost_is_made_again_and_found_already_stopped(shared_world: World) -> None:
    stop = StopLivePullToPush(region="cn-shanghai", task_id="answer-lost")
    shared_world.simulator.start_tasks(OTHER_ALIYUN, [stop])
    shared_world.simulator.add_fault("reset", task=stop.params, when="after")
    outcome = shared_world.client.enqueue(stop, account=OTHER_ALIYUN).outcome(TIMEOUT)
    assert (outcome.result, outcome.code) == (Result.ALREADY_STOPPED, "CodeTaskHasStopped")


def test_a_task_that_ended_by_itself_is_already_stopped_at_either_vendor(shared_world: World) -> None:
    relay = StopLivePullToPush(region="cn-beijing", task_id="ended")
    ingest = StopStreamIngest(sdk_app_id=5, task_id="ended")
    jobs = []
    for account, stop in ((OTHER_ALIYUN, relay), (TENCENT, ingest)):
        shared_world.simulator.start_tasks(account, [stop])
        first = shared_world.client.enqueue(stop, account=account).outcome(TIMEOUT)
        assert first.result is Result.STOPPED
        jobs.append(shared_world.client.enqueue(stop, account=account))
    again = [job.outcome(TIMEOUT) for job in jobs]
    assert [(outcome.result, outcome.code) for outcome in again] == [
        (Result.ALREADY_STOPPED, "CodeTaskHasStopped"),
        (Result.ALREADY_STOPPED, "FailedOperation.TaskFinished"),
    ]
    assert all(outcome.ok for outcome in again)


def test_a_status_tells_the_vendors_value_and_ours(shared_world: World) -> None:
    simulator, client = shared_world.simulator, shared_world.client
    simulator.start_tasks(ALIYUN, [GetMPUTaskStatus(app_id="a", task_id="s")])
    simulator.start_tasks(ALIYUN, [DescribeLivePullToPush(region="cn-shanghai", task_id="s")])
    simulator.start_tasks(TENCENT, [DescribeStreamIngest(sdk_app_id=7, task_id="s")])
    jobs = [
        client.enqueue(GetMPUTaskStatus(app_id="a", task_id="s"), account=ALIYUN),
        client.enqueue(DescribeLivePullToPush(region="cn-shanghai", task_id="s"), account=ALIYUN),
        client.enqueue(DescribeStreamIngest(sdk_app_id=7, task_id="s"), account=TENCENT),
        client.enqueue(DescribeStreamIngest(sdk_app_id=7, task_id="never"), account=TENCENT),
    ]
    statuses = [job.outcome(TIMEOUT).status for job in jobs]
    assert [(status.raw, status.state, status.over) for status in statuses if status] == [
        (1, State.RUNNING, False),
        (1, State.RUNNING, False),
        ("InProgress", State.RUNNING, False),
        ("NotExist", State.STOPPED, True),
    ]


def test_celery_itself_shows_how_a_job_ended(shared_world: World) -> None:
    stop = StopLivePullToPush(region="cn-shanghai", task_id="for-flower")
    shared_world.simulator.start_tasks(OTHER_ALIYUN, [stop])
    good = shared_world.client.enqueue(stop, account=OTHER_ALIYUN)
    bad = shared_world.client.enqueue(
        StopLivePullToPush(region="cn-shanghai", task_id="nobody-started-it"), account=OTHER_ALIYUN
    )
    outcomes = [good.outcome(TIMEOUT), bad.outcome(TIMEOUT)]
    app = Celery(broker=shared_world.server.url, backend=shared_world.server.url, set_as_current=False)
    shown: list[AsyncResult[object]] = [AsyncResult(job.id, app=app) for job in (good, bad)]
    assert [result.state for result in shown] == ["SUCCESS", "FAILURE"]
    assert Outcome.model_validate(shown[0].result) == outcomes[0].model_copy(update={"ended_at": None})
    assert [result.date_done for result in shown] == [outcome.ended_at for outcome in outcomes]
    with pytest.raises(JobFailed, match="not_found CodeTaskNotExist"):
        shown[1].get(timeout=TIMEOUT)
    app.close()


def test_every_end_is_one_line_that_says_what_it_was_about(shared_world: World) -> None:
    job = shared_world.client.enqueue(StopStreamIngest(sdk_app_id=9, task_id="no-such-task"), account=TENCENT)
    outcome = job.outcome(TIMEOUT)
    (worker,) = shared_world.workers
    (line,) = eventually(lambda: [line for line in worker.lines() if line.get("job_id") == job.id], "its line")
    assert line["level"] == "warning"
    assert {key: line[key] for key in ("event", "account", "operation", "attempt", "code", "request_id")} == {
        "event": "not_found",
        "account": TENCENT,
        "operation": "trtc.StopStreamIngest",
        "attempt": 1,
        "code": "FailedOperation.TaskNotExist",
        "request_id": outcome.request_id,
    }


def test_no_secret_is_in_what_workers_wrote_or_redis_holds(shared_world: World) -> None:
    wrong = StopStreamIngest(sdk_app_id=11, task_id="secret-hunt")
    shared_world.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=wrong.params)
    job = shared_world.client.enqueue(wrong, account=TENCENT)
    assert job.outcome(TIMEOUT).result is Result.REFUSED
    shared_world.workers[0].await_line(job.id)
    content = everything_in(shared_world.redis) + shared_world.workers[0].text().encode()
    assert b"AuthFailure.SignatureFailure" in content, "the search looks where things are"
    for secret in ("fake-aliyun-secret", "fake-tencent-secret", "fake-tencent-key", "fake-aliyun-key"):
        assert secret.encode() not in content
