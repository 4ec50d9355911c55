"""The next step after the end of a shutdown's job, decided without Redis."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamstop._core.commands import Command, ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Queued
from streamstop._core.membership import Membership, Verification, member_result_of
from streamstop.operations import Operation, StopPublishCdnStream, StopStreamIngest
from streamstop.outcomes import Outcome, Result, State, Status
from streamstop_worker.shutdowns import fan_out as shutdowns
from streamstop_worker.shutdowns.verify import NextStep, after, still_running

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INGEST = StopStreamIngest(sdk_app_id=1, task_id="t")
STOP_LANE = Lane("trtc", "trtc.StopStreamIngest")
STATUS_LANE = Lane("trtc", "trtc.DescribeStreamIngest")
RUNNING = Status(raw="InProgress", state=State.RUNNING, over=False)
OVER = Status(raw="NotExist", state=State.STOPPED, over=True)
MEMBER = Membership(shutdown="s", member="m")
VERIFIED = Membership(shutdown="s", member="m", verify=True)


def received(operation: Operation = INGEST) -> ReceivedCommand:
    return ReceivedCommand.from_message(Command(operation=operation, account="trtc").to_message(now=NOW))


def ended(result: Result, lane: Lane = STOP_LANE, **told: Any) -> Outcome:
    return Outcome(
        result=result, job_id=f"{lane.name}.1", account=lane.account, operation=lane.operation, ended_at=NOW, **told
    )


def asked(*, stops: int = 1, since: datetime = NOW) -> Membership:
    """Return the membership of a status job that verifies the stop with this number."""
    verification = Verification(stopped=ended(Result.STOPPED), params=INGEST.params, since=since.timestamp())
    return VERIFIED.model_copy(update={"stop_attempt": stops, "verification": verification})


def told(follows: NextStep) -> Outcome:
    assert follows.member_result is not None
    assert follows.then is None
    return Outcome.model_validate_json(follows.member_result.outcome)


def argument(queued: Queued | None) -> dict[str, Any]:
    assert queued is not None
    data: dict[str, Any] = json.loads(json.loads(queued.message)["body"])[0][0]
    return data


def test_a_job_of_no_shutdown_is_followed_by_nothing() -> None:
    assert after(None, received(), ended(Result.STOPPED), NOW) == NextStep()


@pytest.mark.parametrize("result", [result for result in Result if result is not Result.STATUS])
def test_a_job_that_is_not_verified_is_counted_as_it_ended(result: Result) -> None:
    outcome = ended(result)
    assert after(MEMBER, received(), outcome, NOW) == NextStep(member_result_of(MEMBER, outcome))


def test_a_settlement_says_what_is_over_and_what_a_person_should_see() -> None:
    flags = {
        result: (member_result_of(MEMBER, ended(result)).ok, member_result_of(MEMBER, ended(result)).attention)
        for result in Result
    }
    well, shown, neither = (True, False), (False, True), (False, False)
    assert flags == {
        Result.STOPPED: well,
        Result.ALREADY_STOPPED: well,
        Result.STATUS: well,
        Result.VERIFIED: well,
        Result.UNVERIFIABLE: well,
        Result.NOT_FOUND: shown,
        Result.REFUSED: shown,
        Result.GAVE_UP: shown,
        Result.EXPIRED: shown,
        Result.NOT_VERIFIED: shown,
        Result.CANCELLED: neither,
    }


@pytest.mark.parametrize("result", [Result.STOPPED, Result.ALREADY_STOPPED])
def test_a_verified_stop_is_followed_by_its_status_in_the_statuss_own_lane(result: Result) -> None:
    follows = after(VERIFIED, received(), ended(result), NOW)
    assert follows.member_result is None
    assert follows.then is not None
    assert (follows.then.lane, follows.then.priority) == (STATUS_LANE, 9)
    asks = ReceivedCommand.from_message(argument(follows.then))
    assert (asks.lane, asks.operation.params) == (STATUS_LANE, {"SdkAppId": 1, "TaskId": "t"})
    membership = Membership.of_message(argument(follows.then))
    assert membership is not None
    assert membership.verification == Verification(stopped=ended(result), params=INGEST.params, since=NOW.timestamp())


@pytest.mark.parametrize("result", [Result.NOT_FOUND, Result.REFUSED, Result.GAVE_UP, Result.CANCELLED])
def test_a_stop_that_was_not_accepted_is_not_verified(result: Result) -> None:
    assert told(after(VERIFIED, received(), ended(result), NOW)).result is result


def test_a_stop_without_a_status_twin_says_that_it_cannot_be_verified() -> None:
    cdn = StopPublishCdnStream(sdk_app_id=1, task_id="t")
    assert told(after(VERIFIED, received(cdn), ended(Result.STOPPED), NOW)).result is Result.UNVERIFIABLE


@pytest.mark.parametrize(
    "answer", [ended(Result.STATUS, STATUS_LANE, status=OVER), ended(Result.NOT_FOUND, STATUS_LANE)]
)
@pytest.mark.parametrize("stops", [1, 2])
def test_a_task_that_the_vendor_calls_over_is_verified_as_the_stop_that_it_was(answer: Outcome, stops: int) -> None:
    outcome = told(after(asked(stops=stops), None, answer, NOW))
    assert (outcome.result, outcome.operation, outcome.status) == (
        Result.VERIFIED,
        STOP_LANE.operation,
        answer.status,
    )


def test_a_task_that_runs_on_is_stopped_once_more() -> None:
    follows = after(asked(), None, ended(Result.STATUS, STATUS_LANE, status=RUNNING), NOW)
    again = Membership.of_message(argument(follows.then))
    assert follows.member_result is None
    assert follows.then is not None
    assert follows.then.lane == STOP_LANE
    assert again == VERIFIED.model_copy(update={"stop_attempt": 2})
    assert ReceivedCommand.from_message(argument(follows.then)).operation == INGEST


def test_a_task_that_runs_on_after_two_stops_needs_a_person() -> None:
    outcome = told(after(asked(stops=2), None, ended(Result.STATUS, STATUS_LANE, status=RUNNING), NOW))
    assert outcome.result is Result.NOT_VERIFIED
    assert outcome.message == "the vendor acknowledged two stops, and the task runs on 30 s later"


@pytest.mark.parametrize("result", [Result.REFUSED, Result.GAVE_UP])
@pytest.mark.parametrize("stops", [1, 2])
def test_a_status_that_cannot_be_asked_for_verifies_nothing(result: Result, stops: int) -> None:
    answer = ended(result, STATUS_LANE, code="Denied", message="no permission")
    outcome = told(after(asked(stops=stops), None, answer, NOW))
    assert (outcome.result, outcome.code) == (Result.NOT_VERIFIED, "Denied")
    assert outcome.message == "its status could not be read: no permission"


@pytest.mark.parametrize(("seconds", "again"), [(0, True), (29.9, True), (30, False), (31, False)])
def test_a_task_that_still_runs_is_asked_again_until_its_time_is_over(seconds: float, *, again: bool) -> None:
    running = ended(Result.STATUS, STATUS_LANE, status=RUNNING)
    assert still_running(asked(), running, NOW + timedelta(seconds=seconds)) is again
    short = asked().model_copy(update={"patience": seconds})
    assert not still_running(short, running, NOW + timedelta(seconds=seconds))


def test_only_a_status_that_verifies_is_asked_again() -> None:
    running = ended(Result.STATUS, STATUS_LANE, status=RUNNING)
    assert not still_running(None, running, NOW)
    assert not still_running(VERIFIED, running, NOW)
    assert not still_running(asked(), ended(Result.STATUS, STATUS_LANE, status=OVER), NOW)
    assert not still_running(asked(), ended(Result.NOT_FOUND, STATUS_LANE), NOW)


def test_each_step_of_a_member_has_an_id_of_its_own_and_the_same_each_time() -> None:
    steps = [VERIFIED, asked(), VERIFIED.model_copy(update={"stop_attempt": 2}), asked(stops=2)]
    ids = [step.job_id(STOP_LANE) for step in steps]
    assert len(set(ids)) == 4
    assert ids == [step.job_id(STOP_LANE) for step in steps]
    assert {Lane.of_job(job_id) for job_id in ids} == {STOP_LANE}


def test_a_lanes_first_twenty_jobs_of_a_shutdown_go_before_the_next_two_hundred_and_these_before_the_rest() -> None:
    shares = shutdowns._Shares({})
    assert [shares.next(STOP_LANE) for _ in range(222)] == [3] * 20 + [6] * 200 + [9] * 2
    assert shares.next(STATUS_LANE) == 3, "each lane has its own"


def test_shares_go_on_where_an_earlier_fan_out_left() -> None:
    shares = shutdowns._Shares({STOP_LANE.name: 19})
    assert [shares.next(STOP_LANE) for _ in range(2)] == [3, 6]
