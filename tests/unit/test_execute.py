"""The pipeline of one job, in this process: a Redis in memory, real lanes and protocols, a vendor that is told."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakeredis import FakeRedis, FakeServer

from streamstop import Command, Deferral, Outcome, Result
from streamstop.dead import Letters
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import Lane, Lanes, Pace, Tries
from streamstop.lanes.names import READY_LISTS
from streamstop.messages import celery_message
from streamstop.operations import GetMPUTaskStatus, ListRtcMPUTaskDetail, Operation, RtcStopMPUTask
from streamstop.results import read_record
from streamstop.rooms import Rooms
from streamstop_worker.accounts import Accounts
from streamstop_worker.execute import Delivery, Executor
from streamstop_worker.hold import LONGEST_LEFT
from streamstop_worker.retry import Backoff
from streamstop_worker.shutdowns import Shutdowns
from streamstop_worker.transport import Transport

ACCOUNTS = '[accounts.live-cn]\nvendor = "aliyun"\naccess_key_id = "id"\naccess_key_secret = "hush"\n'
STOP = RtcStopMPUTask(app_id="a", task_id="t")
Answers = Callable[[httpx.Request], httpx.Response]


class Bench:
    """An executor with everything that it needs, and the jobs that a test gives it."""

    def __init__(self, accounts: Path) -> None:
        self.redis = FakeRedis(server=FakeServer())
        self.lanes = Lanes(self.redis)
        self.known = KnownAccounts(self.redis)
        self.requests: list[httpx.Request] = []
        self.answers: list[Answers | httpx.Response | Exception] = []
        self.executor = Executor(
            lanes=self.lanes,
            shutdowns=Shutdowns(Rooms(self.redis, self.lanes), self.lanes),
            accounts=Accounts(accounts, {}),
            known_accounts=self.known,
            transport=Transport(timedelta(seconds=5), 1, httpx.MockTransport(self._answer)),
            lease=timedelta(seconds=15),
            random=lambda: 0.0,
            backoff=Backoff(attempts=3),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, json={"RequestId": "r"})
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def publish(
        self, operation: Operation = STOP, *, account: str = "live-cn", changes: dict[str, Any] | None = None
    ) -> Delivery:
        """Put a command into its lane, and take it from the ready queue."""
        command = Command(operation=operation, account=account)
        message = {**command.to_message(now=datetime.now(UTC)), **(changes or {})}
        lane = command.lane
        job_id = lane.new_job_id()
        self.redis.lpush(lane.queue, celery_message(job_id, lane, message))
        self.lanes.admit(lane, Pace.of_limit(500))
        return self.take(lane)

    def take(self, lane: Lane) -> Delivery:
        taken: Any = next(filter(None, map(self.redis.rpop, READY_LISTS)))
        fields = json.loads(taken)
        return Delivery(fields["headers"]["id"], lane, json.loads(fields["body"])[0][0])

    def again(self, delivery: Delivery) -> Delivery:
        """Let a deferred job be due, and take it."""
        self.lanes.sweep(delivery.lane, Pace.of_limit(500), owner="sweep", lease=timedelta(seconds=60))
        return self.take(delivery.lane)

    def recorded(self, delivery: Delivery) -> Outcome | Deferral | None:
        record = self.lanes.record_of(delivery.job_id)
        return None if record is None else read_record(record)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    path = tmp_path / "accounts.toml"
    path.write_text(ACCOUNTS)
    bench = Bench(path)
    yield bench
    bench.redis.close()


def fault(code: str, status: int = 500) -> httpx.Response:
    return httpx.Response(status, json={"Code": code, "Message": "m", "RequestId": "r"})


def test_a_stop_that_the_vendor_accepts_is_recorded_with_what_it_said(bench: Bench) -> None:
    delivery = bench.publish()
    outcome = bench.executor.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.request_id, outcome.attempts, outcome.calls) == (Result.STOPPED, "r", 1, 1)
    assert outcome.params == {"AppId": "a", "TaskId": "t"}
    assert bench.recorded(delivery) == outcome
    (request,) = bench.requests
    assert (request.method, request.headers["x-acs-action"]) == ("POST", "StopMPUTask")


def test_every_attempt_has_a_nonce_of_its_own(bench: Bench) -> None:
    bench.answers = [fault("InternalError"), fault("SignatureNonceUsed", 400)]
    delivery = bench.publish()
    assert isinstance(bench.executor.execute(delivery), Deferral)
    assert isinstance(bench.executor.execute(bench.again(delivery)), Deferral)
    assert isinstance(bench.executor.execute(bench.again(delivery)), Outcome)
    assert len({request.headers["x-acs-signature-nonce"] for request in bench.requests}) == 3


def test_a_job_gives_up_after_as_many_attempts_as_it_has(bench: Bench) -> None:
    bench.answers = [httpx.ReadTimeout("late"), fault("ServiceUnavailable", 503), fault("InternalError")]
    delivery = bench.publish()
    assert isinstance(bench.executor.execute(delivery), Deferral)
    deferred = bench.recorded(delivery)
    assert isinstance(deferred, Deferral)
    assert deferred.reason.startswith("ReadTimeout")
    assert isinstance(bench.executor.execute(bench.again(delivery)), Deferral)
    outcome = bench.executor.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.code, outcome.attempts) == (Result.GAVE_UP, "InternalError", 3)


def test_a_throttled_call_is_no_report_and_the_job_waits_in_its_lane(bench: Bench) -> None:
    bench.answers = [fault("Throttling.User", 400)]
    delivery = bench.publish()
    assert bench.executor.execute(delivery) is None
    view = bench.lanes.view(delivery.lane)
    assert (view.waiting, view.in_flight, view.rest > timedelta(0)) == (1, 0, True)
    assert bench.recorded(delivery) is None


def test_an_expired_command_makes_no_call(bench: Bench) -> None:
    delivery = bench.publish(changes={"expires_at": 1.0})
    outcome = bench.executor.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, bench.requests) == (Result.EXPIRED, [])


def test_a_delivery_that_another_worker_has_claimed_makes_no_call(bench: Bench) -> None:
    delivery = bench.publish()
    pace, lease = Pace.of_limit(500), timedelta(seconds=15)
    bench.lanes.claim(delivery.lane, pace, delivery.job_id, owner="another", lease=lease, expires_at=None)
    assert bench.executor.execute(delivery) is None
    assert bench.requests == []


def test_a_worker_that_shuts_down_gives_jobs_back_uncalled(bench: Bench) -> None:
    delivery = bench.publish()
    bench.executor.draining.set()
    assert bench.executor.execute(delivery) is None
    assert bench.requests == []
    assert bench.take(delivery.lane).job_id == delivery.job_id, "it is ready for another worker at once"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"params": {"AppId": "a"}}, "TaskId is required"),
        ({"operation": "live.StopMPUTask"}, "came through live-cn.rtc.StopMPUTask"),
        ({"v": "1"}, "version 1"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_with_the_reason(
    bench: Bench, changes: dict[str, Any], said: str
) -> None:
    outcome = bench.executor.execute(bench.publish(changes=changes))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, bench.requests) == (Result.REFUSED, 0, [])
    assert said in (outcome.message or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v": 2, "params": "of a new kind"}, "reads version 1"),
        ({"operation": "live.StopTimeItself"}, "StopTimeItself"),
    ],
)
def test_what_a_newer_worker_may_know_is_left_to_it_for_a_bounded_time(
    bench: Bench, changes: dict[str, Any], said: str
) -> None:
    delivery = bench.publish(changes=changes)
    left = bench.executor.execute(delivery)
    assert isinstance(left, Deferral)
    assert said in left.reason
    jobs, due = delivery.lane.keys[5], delivery.lane.keys[6]
    kept: Any = bench.redis.hget(jobs, f"{delivery.job_id}:tries")
    since = Tries.parse(kept.decode()).left
    assert abs(time.time() - since) < 60
    long_ago = since - int(LONGEST_LEFT.total_seconds()) - 1
    bench.redis.hset(jobs, f"{delivery.job_id}:tries", f"0 0 0 0 {long_ago} 0")
    bench.redis.zadd(due, {delivery.job_id: 0})
    outcome = bench.executor.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, bench.requests) == (Result.REFUSED, 0, [])
    assert said in (outcome.message or "")
    letter = Letters(bench.redis, bench.lanes).get(delivery.job_id)
    assert json.loads(letter.message or "")["headers"]["id"] == delivery.job_id, "its raw text"
    assert letter.command is not None, "it can be requeued when a newer worker has come"


@pytest.mark.parametrize(
    ("answer", "result", "attempts"),
    [
        (httpx.Response(200, json={"RequestId": "r"}), None, 1),
        (fault("InvalidAccessKeyId.NotFound", 404), Result.REFUSED, 1),
        (fault("InternalError"), Result.GAVE_UP, 3),
    ],
)
def test_what_ends_so_that_a_person_must_look_is_kept_with_its_command_and_the_last_answer(
    bench: Bench, answer: httpx.Response, result: Result | None, attempts: int
) -> None:
    delivery = bench.publish()
    for _ in range(attempts):
        bench.answers = [answer]
        report = bench.executor.execute(delivery)
        if isinstance(report, Deferral):
            delivery = bench.again(delivery)
    letters = list(Letters(bench.redis, bench.lanes).letters())
    assert [letter.result for letter in letters] == ([] if result is None else [result])
    for letter in letters:
        assert letter.outcome == report == bench.recorded(delivery)
        assert letter.outcome is not None
        assert (letter.outcome.attempts, letter.outcome.request_id) == (attempts, "r")
        assert letter.command is not None
        assert letter.command["params"] == {"AppId": "a", "TaskId": "t"}
        assert letter.message is None, "a command that could be read need not be quoted"


def test_jobs_that_are_not_called_take_no_slot_of_their_lane(bench: Bench) -> None:
    newer, good = [bench.publish(changes={"v": 2}) for _ in range(5)], bench.publish()
    free_from = bench.lanes.claim(
        good.lane, Pace.of_limit(1), good.job_id, owner="probe", lease=timedelta(seconds=1), expires_at=None
    ).wait
    assert bench.lanes.release(good.lane, Pace.of_limit(1), good.job_id, owner="probe")
    for delivery in newer:
        assert isinstance(bench.executor.execute(delivery), Deferral)
    tat: Any = bench.redis.hget(good.lane.keys[7], "tat")
    assert free_from == timedelta(0)
    assert int(tat) / 1e6 - time.time() < 1.2, "one slot is taken: the probe's"


def test_an_account_that_no_worker_has_may_come_and_one_that_another_has_is_left_to_it(bench: Bench) -> None:
    waits = bench.executor.execute(bench.publish(account="nobody"))
    assert isinstance(waits, Deferral)
    assert "no running worker has account 'nobody'" in waits.reason
    bench.known.publish({"elsewhere": "aliyun"})
    left = bench.executor.execute(bench.publish(account="elsewhere"))
    assert isinstance(left, Deferral)
    assert bench.requests == []


def test_a_job_that_was_lost_with_its_worker_again_and_again_gives_up(bench: Bench) -> None:
    delivery = bench.publish()
    bench.redis.hset(delivery.lane.keys[5], f"{delivery.job_id}:tries", "2 3 5 0")
    outcome = bench.executor.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.attempts, bench.requests) == (Result.GAVE_UP, 2, [])
    assert "lost with its worker 5 times" in (outcome.message or "")


def test_a_status_keeps_the_value_and_a_listing_the_whole_reply(bench: Bench) -> None:
    bench.answers = [httpx.Response(200, json={"RequestId": "r", "Status": 1})]
    status = bench.executor.execute(bench.publish(GetMPUTaskStatus(app_id="a", task_id="t")))
    assert isinstance(status, Outcome)
    assert status.status is not None
    assert (status.result, status.status.raw, status.reply) == (Result.STATUS, 1, None)
    bench.answers = [httpx.Response(200, json={"RequestId": "r", "MPUTasks": [{"TaskId": "t"}]})]
    listing = bench.executor.execute(bench.publish(ListRtcMPUTaskDetail(app_id="a")))
    assert isinstance(listing, Outcome)
    assert listing.reply == {"RequestId": "r", "MPUTasks": [{"TaskId": "t"}]}


def test_a_report_that_comes_after_its_lease_is_not_recorded(bench: Bench) -> None:
    delivery = bench.publish()

    def lease_runs_out(_request: httpx.Request) -> httpx.Response:
        bench.redis.zadd(delivery.lane.keys[4], {delivery.job_id: 0})
        bench.lanes.sweep(delivery.lane, Pace.of_limit(500), owner="sweep", lease=timedelta(seconds=60))
        return httpx.Response(200, json={"RequestId": "r"})

    bench.answers = [lease_runs_out]
    assert bench.executor.execute(delivery) is None
    assert bench.recorded(delivery) is None
    assert isinstance(bench.executor.execute(bench.take(delivery.lane)), Outcome)
