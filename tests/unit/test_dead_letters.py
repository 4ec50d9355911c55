"""Dead letters: what is kept of a job that needs a person, and how it is found, requeued and dropped."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from streamstop._core.constants import DEAD
from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import DeadLetterRecord, MemberResult
from streamstop._core.letters import dead_letter_record
from streamstop._core.membership import Membership, Verification
from streamstop._redis import dead as store
from streamstop.errors import NotRequeueable, UnknownDeadLetter
from streamstop.outcomes import Outcome, Result
from tests.support.dead_letters import COMMAND, LANE, OTHER, Cemetery
from tests.support.manual_clock import MovedClock, fake_redis


@pytest.fixture
def cemetery() -> Iterator[Cemetery]:
    clock = MovedClock()
    with fake_redis(clock) as redis:
        yield Cemetery(redis, clock)


def test_letters_are_found_by_whatever_is_given_and_in_the_order_of_their_ends(cemetery: Cemetery) -> None:
    cemetery.die("a", code="Forbidden")
    cemetery.die("b", OTHER, result=Result.NOT_FOUND)
    cemetery.die("c", result=Result.GAVE_UP, code="InternalError")
    assert cemetery.ids() == ["a", "b", "c"]
    assert cemetery.ids(account="live-cn") == ["a", "c"]
    assert cemetery.ids(operation=OTHER.operation) == ["b"]
    assert cemetery.ids(result=Result.GAVE_UP) == ["c"]
    assert cemetery.ids(code="Forbidden") == ["a"]
    assert cemetery.ids(room="r") == []
    assert cemetery.ids(older_than=timedelta(minutes=2)) == ["a", "b"]
    assert cemetery.ids(younger_than=timedelta(minutes=2)) == ["b", "c"]
    assert cemetery.ids(account="live-cn", older_than=timedelta(minutes=2)) == ["a"]
    assert cemetery.dead.count() == 3


def test_a_letter_is_requeued_once_as_a_new_job_and_without_its_expiry(cemetery: Cemetery) -> None:
    letter_id = cemetery.die("a", result=Result.EXPIRED, command={**COMMAND, "expires_at": 1.0})
    job_id = cemetery.dead.requeue(letter_id)
    assert Lane.of_job(job_id) == LANE
    assert job_id != letter_id
    (message,) = cemetery.waiting()
    assert message["headers"]["id"] == job_id
    ((command,), _, _) = json.loads(message["body"])
    assert command.pop("enqueued_at") > 1_700_000_000
    assert command == COMMAND
    for again in (cemetery.dead.requeue, cemetery.dead.drop, cemetery.dead.get):
        with pytest.raises(UnknownDeadLetter, match=letter_id):
            again(letter_id)
    assert len(cemetery.waiting()) == 1
    assert cemetery.redis.exists(DEAD, f"{DEAD}.{letter_id}") == 0


def test_a_letter_that_is_dropped_is_gone_and_nothing_else(cemetery: Cemetery) -> None:
    kept, dropped = cemetery.die("kept"), cemetery.die("dropped")
    cemetery.dead.drop(dropped)
    assert [letter.id for letter in cemetery.dead.letters()] == [kept]
    assert cemetery.waiting() == []


def test_a_message_that_nobody_can_read_is_kept_with_its_text_and_cannot_be_requeued(cemetery: Cemetery) -> None:
    cemetery.redis.lpush(LANE.queue, b"not JSON", b"\xff\x00 neither")
    cemetery.redis.lpush(LANE.queue, b"x" * 300_000)
    for _ in range(3):
        cemetery.take()
    first, second, oversized = cemetery.dead.letters()
    assert (first.message, second.message) == ("not JSON", "\\xff\x00 neither")
    assert oversized.message == "x" * 4096
    assert (first.account, first.operation, first.outcome) == (LANE.account, LANE.operation, None)
    assert first.reason == "it is no message that a worker can read"
    with pytest.raises(NotRequeueable, match="no command"):
        cemetery.dead.requeue(first.id)
    assert cemetery.dead.get(first.id) == first


def test_every_letter_is_yielded_once_while_others_go_and_however_many_died_at_one_moment(cemetery: Cemetery) -> None:
    pipeline = cemetery.redis.pipeline(transaction=False)
    for number in range(2400):
        pipeline.zadd(DEAD, {f"letter-{number}": cemetery.clock.now_us + number // 500})
        pipeline.hset(f"{DEAD}.letter-{number}", mapping={"lane": LANE.name, "message": "not JSON"})
    pipeline.execute()
    cemetery.clock.advance(timedelta(seconds=1))
    seen = []
    for letter in cemetery.dead.letters():
        seen.append(letter.id)
        if len(seen) % 3 == 0:
            cemetery.dead.drop(letter.id)
    assert len(seen) == len(set(seen)) == 2400
    assert cemetery.dead.count() == 1600


def outcome_of(lane: Lane, result: Result) -> Outcome:
    return Outcome(result=result, job_id=f"{lane.name}.x", account=lane.account, operation=lane.operation)


def member_result(outcome: Outcome) -> MemberResult:
    result = outcome.result
    return MemberResult("s", "m", result.value, outcome.model_dump_json(), result.ok, result.needs_person)


def body(letter: DeadLetterRecord | None) -> Any:
    assert letter is not None
    return json.loads(letter.text)


def test_of_a_shutdown_it_is_the_stream_task_that_leaves_a_letter() -> None:
    stop = Membership(shutdown="s", member="m", verify=True)
    stopped = outcome_of(LANE, Result.STOPPED)
    asks = stop.model_copy(update={"verification": Verification(stopped=stopped, params={"TaskId": "t"}, since=0.0)})
    twin = Lane(LANE.account, "live.GetMPUTaskStatus")
    refused = outcome_of(twin, Result.REFUSED)
    not_verified = stopped.model_copy(update={"result": Result.NOT_VERIFIED})

    assert dead_letter_record({"v": 1}, stop, stopped, member_result(stopped)) is None
    letter = dead_letter_record({"v": 1, "shutdown": {}}, asks, refused, member_result(not_verified))
    told = body(letter)
    assert letter is not None
    assert letter.id == stopped.job_id
    assert told["outcome"]["result"] == "not_verified"
    assert told["command"] == {"v": 1, "operation": LANE.operation, "account": LANE.account, "params": {"TaskId": "t"}}
    assert told["membership"]["member"] == "m"
    assert "follow" not in told["membership"]
    assert dead_letter_record({"v": 1}, stop, outcome_of(LANE, Result.CANCELLED), None) is None


def test_the_oldest_letters_go_before_redis_is_full_of_them(cemetery: Cemetery) -> None:
    first, second = cemetery.die("first"), cemetery.die("second")
    pipeline = cemetery.redis.pipeline(transaction=False)
    for start in range(0, 99_998, 10_000):
        filling = {f"filling-{n}": cemetery.clock.now_us for n in range(start, min(start + 10_000, 99_998))}
        pipeline.zadd(DEAD, filling)
    pipeline.execute()
    assert cemetery.dead.count() == 100_000
    third = cemetery.die("third")
    assert cemetery.dead.count() == 100_000
    with pytest.raises(UnknownDeadLetter):
        cemetery.dead.get(first)
    assert [cemetery.dead.get(letter_id).id for letter_id in (second, third)] == [second, third]
    assert cemetery.redis.exists(f"{DEAD}.{first}") == 0


def test_letters_that_die_again_while_all_are_requeued_wait_for_the_next_time(
    cemetery: Cemetery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 2)
    for name in ("a", "b", "c"):
        cemetery.die(name)
    seen = []
    for letter in cemetery.dead.letters():
        seen.append(letter.id.rpartition(".")[2])
        assert len(seen) <= 3, "it would never end"
        cemetery.dead.requeue(letter.id)
        cemetery.die(f"{seen[-1]} again")
    assert seen == ["a", "b", "c"]
    assert cemetery.ids() == ["a again", "b again", "c again"]


@pytest.mark.parametrize("worst", ["\ud800", json.loads("[" * 900 + "]" * 900)])
def test_what_cannot_be_written_down_ends_its_job_all_the_same_and_is_quoted(cemetery: Cemetery, worst: object) -> None:
    letter_id = cemetery.die("a", command={**COMMAND, "params": {"TaskId": worst}})
    letter = cemetery.dead.get(letter_id)
    assert (letter.command, letter.reason) == (None, "because")
    assert json.loads(letter.message or "")["headers"]["id"] == letter_id
    with pytest.raises(NotRequeueable):
        cemetery.dead.requeue(letter_id)
    reason = outcome_of(LANE, Result.REFUSED).model_copy(update={"message": "no \ud800"})
    assert body(dead_letter_record(COMMAND, None, reason, None))["outcome"]["message"] == "no \\ud800"


def test_what_came_through_another_lane_is_requeued_in_its_own(cemetery: Cemetery) -> None:
    stray = {
        **COMMAND,
        "operation": OTHER.operation,
        "account": OTHER.account,
        "params": {"SdkAppId": 1, "TaskId": "t"},
    }
    job_id = cemetery.dead.requeue(cemetery.die("stray", command=stray))
    assert Lane.of_job(job_id) == OTHER
    assert [message["headers"]["id"] for message in cemetery.waiting(OTHER)] == [job_id]
    nonsense = cemetery.die("nonsense", command={"operation": ["x"], "account": 7})
    assert Lane.of_job(cemetery.dead.requeue(nonsense)) == LANE


def test_an_id_that_another_producer_uses_again_is_another_job_when_it_is_requeued_again(cemetery: Cemetery) -> None:
    first = cemetery.dead.requeue(cemetery.die("go"))
    cemetery.redis.delete(result_key(f"{LANE.name}.go"))  # a week has passed
    second = cemetery.dead.requeue(cemetery.die("go"))
    assert first != second


def test_a_step_of_a_shutdown_still_says_of_which_one_when_it_is_requeued(cemetery: Cemetery) -> None:
    lane = Lane("_control", "room.Steps")
    cemetery.dead.requeue(cemetery.die("a", lane, command={"step": "fan_out", "shutdown": "s"}))
    (message,) = cemetery.waiting(lane)
    ((command,), _, _) = json.loads(message["body"])
    assert (command["step"], command["shutdown"]) == ("fan_out", "s")


def test_letters_that_nobody_could_read_are_found_apart(cemetery: Cemetery) -> None:
    cemetery.redis.lpush(LANE.queue, b"not JSON")
    cemetery.take()
    cemetery.die("a")
    assert len(cemetery.ids()) == 2
    assert cemetery.ids(readable=True) == ["a"]
    assert cemetery.ids(readable=False) == ["unreadable-1"]
