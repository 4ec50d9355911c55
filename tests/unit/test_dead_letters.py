"""Dead letters: what is kept of a job that needs a person, and how it is found, requeued and dropped."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from streamstop._core.constants import DEAD
from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import DeadLetterRecord, MemberResult
from streamstop._core.letters import Matching, dead_letter_record
from streamstop._core.membership import Membership, Verification
from streamstop._redis import dead as store
from streamstop.errors import NotRequeueable, UnknownDeadLetter
from streamstop.outcomes import Outcome, Result
from tests.support.dead_letters import COMMAND, LANE, OTHER, FailingLanes
from tests.support.manual_clock import ManualClock, fake_redis


@pytest.fixture
def failing_lanes() -> Iterator[FailingLanes]:
    clock = ManualClock()
    with fake_redis(clock) as redis:
        yield FailingLanes(redis, clock)


def test_letters_are_found_by_any_filters_in_the_order_of_their_ends(failing_lanes: FailingLanes) -> None:
    failing_lanes.fail_job("a", code="Forbidden")
    failing_lanes.fail_job("b", OTHER, result=Result.NOT_FOUND)
    failing_lanes.fail_job("c", result=Result.GAVE_UP, code="InternalError")
    assert failing_lanes.ids() == ["a", "b", "c"]
    assert failing_lanes.ids(account="live-cn") == ["a", "c"]
    assert failing_lanes.ids(operation=OTHER.operation) == ["b"]
    assert failing_lanes.ids(result=Result.GAVE_UP) == ["c"]
    assert failing_lanes.ids(code="Forbidden") == ["a"]
    assert failing_lanes.ids(room="r") == []
    assert failing_lanes.ids(older_than=timedelta(minutes=2)) == ["a", "b"]
    assert failing_lanes.ids(younger_than=timedelta(minutes=2)) == ["b", "c"]
    assert failing_lanes.ids(account="live-cn", older_than=timedelta(minutes=2)) == ["a"]
    _, second, third = failing_lanes.dead.letters()
    assert failing_lanes.ids(died_by=second.died_at) == ["a", "b"]
    assert failing_lanes.ids(died_by=third.died_at - timedelta(microseconds=1)) == ["a", "b"]
    assert failing_lanes.ids(died_by=third.died_at, older_than=timedelta(minutes=2)) == ["a", "b"]
    assert failing_lanes.dead.count() == 3


def test_a_filter_finds_what_fits_whatever_characters_it_has(failing_lanes: FailingLanes) -> None:
    codes = ["Forbidden.RAM", "Forbidden", 'a"b\\c', "内部错误", "a b", "x\ny", "...", "-100.5/7:8"]
    for number, code in enumerate(codes):
        failing_lanes.fail_job(f"j{number}", LANE if number % 2 else OTHER, code=code)
    every = list(failing_lanes.dead.letters())
    wanted = [{"code": code} for code in [*codes, "Forbid", "RAM", "none"]]
    wanted += [{"account": each.account, "code": code} for each in (LANE, OTHER) for code in codes]
    wanted += [{"operation": each.operation, "result": Result.REFUSED} for each in (LANE, OTHER)]
    for options in wanted:
        matching = Matching(**options)  # type: ignore[arg-type]
        assert list(failing_lanes.dead.letters(matching)) == [each for each in every if matching.fits(each)], options
    assert failing_lanes.ids(code="内部错误") == ["j3"]


def test_a_letter_is_requeued_once_as_a_new_job_and_without_its_expiry(failing_lanes: FailingLanes) -> None:
    letter_id = failing_lanes.fail_job("a", result=Result.EXPIRED, command={**COMMAND, "expires_at": 1.0})
    job_id = failing_lanes.dead.requeue(letter_id)
    assert Lane.of_job(job_id) == LANE
    assert job_id != letter_id
    (message,) = failing_lanes.waiting()
    assert message["headers"]["id"] == job_id
    ((command,), _, _) = json.loads(message["body"])
    assert command.pop("enqueued_at") > 1_700_000_000
    assert command == COMMAND
    for again in (failing_lanes.dead.requeue, failing_lanes.dead.drop, failing_lanes.dead.get):
        with pytest.raises(UnknownDeadLetter, match=letter_id):
            again(letter_id)
    assert len(failing_lanes.waiting()) == 1
    assert failing_lanes.redis.exists(DEAD, f"{DEAD}.{letter_id}") == 0


def test_a_letter_that_is_dropped_is_gone_and_nothing_else(failing_lanes: FailingLanes) -> None:
    kept, dropped = failing_lanes.fail_job("kept"), failing_lanes.fail_job("dropped")
    failing_lanes.dead.drop(dropped)
    assert [letter.id for letter in failing_lanes.dead.letters()] == [kept]
    assert failing_lanes.waiting() == []


def test_an_unreadable_message_is_kept_with_its_text_and_cannot_be_requeued(
    failing_lanes: FailingLanes,
) -> None:
    failing_lanes.redis.lpush(LANE.queue, b"not JSON", b"\xff\x00 neither")
    failing_lanes.redis.lpush(LANE.queue, b"x" * 300_000)
    for _ in range(3):
        failing_lanes.take()
    first, second, oversized = failing_lanes.dead.letters()
    assert (first.message, second.message) == ("not JSON", "\\xff\x00 neither")
    assert oversized.message == "x" * 4096
    assert (first.account, first.operation, first.outcome) == (LANE.account, LANE.operation, None)
    assert first.reason == "it is no message that a worker can read"
    with pytest.raises(NotRequeueable, match="no command"):
        failing_lanes.dead.requeue(first.id)
    assert failing_lanes.dead.get(first.id) == first


def test_every_letter_is_yielded_once_while_others_are_removed_even_if_many_share_a_moment(
    failing_lanes: FailingLanes,
) -> None:
    pipeline = failing_lanes.redis.pipeline(transaction=False)
    for number in range(2400):
        pipeline.zadd(DEAD, {f"letter-{number}": failing_lanes.clock.now_us + number // 500})
        pipeline.hset(f"{DEAD}.letter-{number}", mapping={"lane": LANE.name, "message": "not JSON"})
    pipeline.execute()
    failing_lanes.clock.advance(timedelta(seconds=1))
    seen = []
    for letter in failing_lanes.dead.letters():
        seen.append(letter.id)
        if len(seen) % 3 == 0:
            failing_lanes.dead.drop(letter.id)
    assert len(seen) == len(set(seen)) == 2400
    assert failing_lanes.dead.count() == 1600


def outcome_of(lane: Lane, result: Result) -> Outcome:
    return Outcome(result=result, job_id=f"{lane.name}.x", account=lane.account, operation=lane.operation)


def member_result(outcome: Outcome) -> MemberResult:
    result = outcome.result
    return MemberResult("s", "m", result.value, outcome.model_dump_json(), result.ok, result.needs_person)


def body(letter: DeadLetterRecord | None) -> Any:
    assert letter is not None
    return json.loads(letter.text)


def test_the_letter_of_a_shutdowns_job_is_for_the_stream_task() -> None:
    stop = Membership(shutdown="s", member="m", verify=True)
    stopped = outcome_of(LANE, Result.STOPPED)
    asks = stop.model_copy(update={"verification": Verification(stopped=stopped, params={"TaskId": "t"}, since=0.0)})
    twin = Lane(LANE.account, "live.GetMPUTaskStatus")
    refused = outcome_of(twin, Result.REFUSED)
    not_verified = stopped.model_copy(update={"result": Result.NOT_VERIFIED})

    assert dead_letter_record({"v": 1}, stop, stopped, member_result(stopped)) is None
    letter = dead_letter_record({"v": 1, "shutdown": {}}, asks, refused, member_result(not_verified))
    content = body(letter)
    assert letter is not None
    assert letter.id == stopped.job_id
    assert content["outcome"]["result"] == "not_verified"
    assert content["command"] == {
        "v": 1,
        "operation": LANE.operation,
        "account": LANE.account,
        "params": {"TaskId": "t"},
    }
    assert content["membership"]["member"] == "m"
    assert "follow" not in content["membership"]
    assert dead_letter_record({"v": 1}, stop, outcome_of(LANE, Result.CANCELLED), None) is None


@pytest.mark.long
def test_the_oldest_letters_are_dropped_at_the_maximum(failing_lanes: FailingLanes) -> None:
    first, second = failing_lanes.fail_job("first"), failing_lanes.fail_job("second")
    pipeline = failing_lanes.redis.pipeline(transaction=False)
    for start in range(0, 99_998, 10_000):
        filling = {f"filling-{n}": failing_lanes.clock.now_us for n in range(start, min(start + 10_000, 99_998))}
        pipeline.zadd(DEAD, filling)
    pipeline.execute()
    assert failing_lanes.dead.count() == 100_000
    third = failing_lanes.fail_job("third")
    assert failing_lanes.dead.count() == 100_000
    with pytest.raises(UnknownDeadLetter):
        failing_lanes.dead.get(first)
    assert [failing_lanes.dead.get(letter_id).id for letter_id in (second, third)] == [second, third]
    assert failing_lanes.redis.exists(f"{DEAD}.{first}") == 0


def test_letters_that_die_again_while_all_are_requeued_wait_for_the_next_time(
    failing_lanes: FailingLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 2)
    for name in ("a", "b", "c"):
        failing_lanes.fail_job(name)
    seen = []
    for letter in failing_lanes.dead.letters():
        seen.append(letter.id.rpartition(".")[2])
        assert len(seen) <= 3, "it would never end"
        failing_lanes.dead.requeue(letter.id)
        failing_lanes.fail_job(f"{seen[-1]} again")
    assert seen == ["a", "b", "c"]
    assert failing_lanes.ids() == ["a again", "b again", "c again"]


@pytest.mark.parametrize("worst", ["\ud800", json.loads("[" * 900 + "]" * 900)])
def test_a_command_that_json_cannot_hold_is_kept_as_its_message(failing_lanes: FailingLanes, worst: object) -> None:
    letter_id = failing_lanes.fail_job("a", command={**COMMAND, "params": {"TaskId": worst}})
    letter = failing_lanes.dead.get(letter_id)
    assert (letter.command, letter.reason) == (None, "because")
    assert json.loads(letter.message or "")["headers"]["id"] == letter_id
    with pytest.raises(NotRequeueable):
        failing_lanes.dead.requeue(letter_id)
    reason = outcome_of(LANE, Result.REFUSED).model_copy(update={"message": "no \ud800"})
    assert body(dead_letter_record(COMMAND, None, reason, None))["outcome"]["message"] == "no \\ud800"


def test_a_letter_from_another_lane_is_requeued_in_its_own(failing_lanes: FailingLanes) -> None:
    stray = {
        **COMMAND,
        "operation": OTHER.operation,
        "account": OTHER.account,
        "params": {"SdkAppId": 1, "TaskId": "t"},
    }
    job_id = failing_lanes.dead.requeue(failing_lanes.fail_job("stray", command=stray))
    assert Lane.of_job(job_id) == OTHER
    assert [message["headers"]["id"] for message in failing_lanes.waiting(OTHER)] == [job_id]
    nonsense = failing_lanes.fail_job("nonsense", command={"operation": ["x"], "account": 7})
    assert Lane.of_job(failing_lanes.dead.requeue(nonsense)) == LANE


def test_an_id_that_another_producer_uses_again_is_another_job_when_it_is_requeued_again(
    failing_lanes: FailingLanes,
) -> None:
    first = failing_lanes.dead.requeue(failing_lanes.fail_job("go"))
    failing_lanes.redis.delete(result_key(f"{LANE.name}.go"))  # a week has passed
    second = failing_lanes.dead.requeue(failing_lanes.fail_job("go"))
    assert first != second


def test_a_requeued_step_of_a_shutdown_still_names_its_shutdown(failing_lanes: FailingLanes) -> None:
    lane = Lane("_control", "room.Steps")
    failing_lanes.dead.requeue(failing_lanes.fail_job("a", lane, command={"step": "fan_out", "shutdown": "s"}))
    (message,) = failing_lanes.waiting(lane)
    ((command,), _, _) = json.loads(message["body"])
    assert (command["step"], command["shutdown"]) == ("fan_out", "s")


def test_unreadable_letters_are_found_apart(failing_lanes: FailingLanes) -> None:
    failing_lanes.redis.lpush(LANE.queue, b"not JSON")
    failing_lanes.take()
    failing_lanes.fail_job("a")
    assert len(failing_lanes.ids()) == 2
    assert failing_lanes.ids(readable=True) == ["a"]
    assert failing_lanes.ids(readable=False) == ["unreadable-1"]


def test_letters_are_counted_by_result_as_they_come_and_go(failing_lanes: FailingLanes) -> None:
    assert failing_lanes.dead.count_by_result() == {}
    refused, requeued = failing_lanes.fail_job("a"), failing_lanes.fail_job("b")
    failing_lanes.fail_job("c", result=Result.GAVE_UP)
    failing_lanes.redis.lpush(LANE.queue, b"not JSON")
    failing_lanes.take()
    assert failing_lanes.dead.count_by_result() == {Result.REFUSED: 2, Result.GAVE_UP: 1, None: 1}
    failing_lanes.dead.drop(refused)
    failing_lanes.dead.requeue(requeued)
    assert failing_lanes.dead.count_by_result() == {Result.GAVE_UP: 1, None: 1}


def test_letters_that_an_earlier_version_kept_are_counted_too(failing_lanes: FailingLanes) -> None:
    old = failing_lanes.fail_job("old")
    failing_lanes.redis.hdel(f"{DEAD}.{old}", "result")
    failing_lanes.redis.delete(f"{DEAD}:results")
    failing_lanes.fail_job("new", result=Result.NOT_FOUND)
    assert failing_lanes.dead.count_by_result() == {Result.REFUSED: 1, Result.NOT_FOUND: 1}
    failing_lanes.dead.drop(old)
    assert failing_lanes.dead.count_by_result() == {Result.NOT_FOUND: 1}
