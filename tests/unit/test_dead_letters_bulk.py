"""Bulk acts on dead letters: what they count, and the one event of each."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from streamstop import (
    Client,
    EventKind,
    InvalidCommand,
    LetterCounts,
    Matching,
    QueueUnavailable,
    Result,
    UnknownDeadLetter,
)
from streamstop._core.letters import position_of
from streamstop._redis.connections import Connections
from streamstop._redis.journal import Journal
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.dead_letters import COMMAND, LANE, OTHER, FailingLanes
from tests.support.manual_clock import ManualClock, fake_redis

OF_OTHER = {**COMMAND, "operation": OTHER.operation, "account": OTHER.account, "params": {"SdkAppId": 1, "TaskId": "u"}}


@pytest.fixture
def failing_lanes() -> Iterator[FailingLanes]:
    clock = ManualClock()
    with fake_redis(clock) as redis:
        yield FailingLanes(redis, clock)


@pytest.fixture
def client(failing_lanes: FailingLanes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Return a client of the failing lanes: two letters of one lane, one of another, and one unreadable."""
    failing_lanes.fail_job("a", code="Forbidden.RAM")
    failing_lanes.fail_job("b", OTHER, result=Result.NOT_FOUND, command=OF_OTHER)
    failing_lanes.fail_job("c", result=Result.GAVE_UP, code="Throttling")
    failing_lanes.redis.lpush(LANE.queue, b"not JSON")
    failing_lanes.take()
    monkeypatch.setattr(Connections, "redis", property(lambda _self: failing_lanes.redis))
    monkeypatch.setattr(Connections, "dead", property(lambda _self: failing_lanes.dead))
    monkeypatch.setattr(Connections, "journal", property(lambda _self: Journal(failing_lanes.redis)))
    with Client("redis://unused") as made:
        yield made


def told(client: Client) -> list[tuple[Any, ...]]:
    return [(event.kind, event.account, event.operation, event.by, event.text) for event in client.events()]


def test_a_bulk_requeue_counts_what_it_did_and_is_one_event(client: Client, failing_lanes: FailingLanes) -> None:
    seen: list[LetterCounts] = []
    counts = client.dead_letters.requeue_matching(by="ops", progress=seen.append)
    assert (counts.dry_run, counts.letters, counts.failed) == (False, 3, 1)
    assert counts.accounts == {LANE.account: 2, OTHER.account: 1}
    assert counts.operations == {LANE.operation: 2, OTHER.operation: 1}
    assert counts.results == {"refused": 1, "not_found": 1, "gave_up": 1}
    assert counts.codes == {"Forbidden.RAM": 1, "Throttling": 1}
    assert "has no command" in counts.problems[0]
    assert seen[-1] == counts
    assert told(client) == [(EventKind.REQUEUED, None, None, "ops", "3 dead letters are requeued")]
    assert (len(failing_lanes.waiting()), len(failing_lanes.waiting(OTHER))) == (2, 1)
    assert client.dead_letters.count() == 1


def test_letters_that_die_after_a_count_stay(client: Client, failing_lanes: FailingLanes) -> None:
    counted = client.dead_letters.drop_matching(dry_run=True)
    failing_lanes.clock.advance(timedelta(seconds=1))
    failing_lanes.fail_job("later")
    assert client.dead_letters.drop_matching(Matching(died_by=counted.at)).letters == counted.letters == 4
    assert failing_lanes.ids() == ["later"]


def test_a_bulk_drop_of_one_lane_is_an_event_of_that_lane(client: Client) -> None:
    counts = client.dead_letters.drop_matching(Matching(account=LANE.account, readable=True), by="ops")
    assert counts.letters == 2
    assert told(client) == [
        (EventKind.DROPPED, LANE.account, LANE.operation, "ops", "2 dead letters are dropped"),
    ]
    assert client.dead_letters.drop_matching(Matching(code="none"), by="ops").letters == 0
    assert len(told(client)) == 1, "an act on nothing is no event"


def test_a_dry_run_counts_the_same_and_changes_nothing(client: Client) -> None:
    wet = {"dry_run", "problems"}
    requeue = client.dead_letters.requeue_matching(dry_run=True)
    drop = client.dead_letters.drop_matching(Matching(result=Result.GAVE_UP), dry_run=True)
    assert (requeue.letters, requeue.failed, drop.letters, drop.failed) == (3, 1, 1, 0)
    assert client.dead_letters.count() == 4
    assert told(client) == []
    done = client.dead_letters.requeue_matching()
    assert done.model_dump(exclude=wet) == requeue.model_dump(exclude=wet)


def test_more_letters_than_a_step_are_handled_in_steps(failing_lanes: FailingLanes, client: Client) -> None:
    for number in range(250):
        failing_lanes.fail_job(f"n{number}")
    steps: list[int] = []
    counts = client.dead_letters.drop_matching(by="ops", progress=lambda counts: steps.append(counts.letters))
    assert steps == [200, 254, 254]
    assert counts.results == {"refused": 251, "not_found": 1, "gave_up": 1, "unreadable": 1}


def test_an_act_that_lasts_too_long_ends_with_its_step_and_says_that_there_are_more(
    failing_lanes: FailingLanes, client: Client
) -> None:
    for number in range(250):
        failing_lanes.fail_job(f"n{number}")
    first = client.dead_letters.drop_matching(lasting=0)
    assert (first.letters, first.more) == (200, True)
    second = client.dead_letters.drop_matching(lasting=timedelta(hours=1))
    assert (second.letters, second.more) == (54, False)
    with pytest.raises(InvalidCommand, match="lasting must be a number of seconds"):
        client.dead_letters.drop_matching(lasting="long")  # type: ignore[arg-type]


def test_what_was_done_before_an_error_is_an_event(
    failing_lanes: FailingLanes, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    requeue = failing_lanes.dead.requeue
    calls: list[str] = []

    def fail_at_the_second(letter_id: str) -> str:
        calls.append(letter_id)
        if len(calls) == 2:
            raise ConnectionResetError
        return requeue(letter_id)

    monkeypatch.setattr(failing_lanes.dead, "requeue", fail_at_the_second)
    with pytest.raises(QueueUnavailable, match="requeue it again"):
        client.dead_letters.requeue_matching(by="ops")
    assert told(client) == [
        (EventKind.REQUEUED, LANE.account, LANE.operation, "ops", "1 dead letter is requeued"),
    ]


def test_an_act_on_one_letter_is_an_event_if_it_says_who_acts(client: Client) -> None:
    first, second, third, fourth = client.dead_letters.letters()
    job = client.dead_letters.requeue(first.id, by="ops")
    client.dead_letters.drop(second.id, by="ops")
    client.dead_letters.requeue(third.id)
    client.dead_letters.drop(fourth.id)
    text = f"dead letter {first.id} is requeued as job {job.id}"
    assert told(client) == [
        (EventKind.REQUEUED, LANE.account, LANE.operation, "ops", text),
        (EventKind.DROPPED, OTHER.account, OTHER.operation, "ops", f"dead letter {second.id} is dropped"),
    ]
    with pytest.raises(UnknownDeadLetter):
        client.dead_letters.drop(first.id, by="ops")
    assert len(told(client)) == 2


def test_letters_are_chosen_by_several_accounts_of_lane_and_command(
    failing_lanes: FailingLanes, client: Client
) -> None:
    failing_lanes.fail_job("foreign", command=OF_OTHER)  # its message names another account than its lane
    assert failing_lanes.ids(accounts={OTHER.account}) == ["b"]
    assert "foreign" not in failing_lanes.ids(accounts={LANE.account})
    assert "foreign" in failing_lanes.ids(accounts={LANE.account, OTHER.account})
    assert list(client.dead_letters.letters(Matching(accounts=[]))) == []


def test_letters_can_be_read_page_by_page_although_earlier_ones_go(client: Client) -> None:
    first, second, third, fourth = client.dead_letters.letters()
    client.dead_letters.drop(second.id)
    behind = list(client.dead_letters.letters(after=position_of(second)))
    assert behind == [third, fourth]
    assert list(client.dead_letters.letters(after=position_of(fourth))) == []
    young = Matching(younger_than=timedelta(days=1))
    assert list(client.dead_letters.letters(young, after=position_of(first))) == [third, fourth]


def recording() -> RecordingClient:
    client = RecordingClient()
    client.answer(StopMPUTask, result="refused", code="Forbidden.RAM")
    for number in range(3):
        client.enqueue(StopMPUTask(app_id="a", task_id=f"t{number}"), account="live-cn")
    return client


def test_the_recording_client_does_the_same_in_asyncio() -> None:
    async def act() -> None:
        client = RecordingAsyncClient(recording())
        letters = [letter async for letter in client.dead_letters.letters()]
        behind = [letter async for letter in client.dead_letters.letters(after=position_of(letters[0]))]
        assert behind == letters[1:]
        assert (await client.dead_letters.requeue_matching(dry_run=True)).letters == 3
        acts = [act async for act in client.dead_letters.drop_each([letters[0].id, "none"], by="ops")]
        assert [act.problem is None for act in acts] == [True, False]
        assert (await client.dead_letters.drop_matching(by="ops")).codes == {"Forbidden.RAM": 2}
        assert [event.text for event in await client.events()] == [
            "1 dead letter is dropped",
            "2 dead letters are dropped",
        ]

    asyncio.run(act())


def test_who_cancels_a_job_or_a_shutdown_is_in_the_events() -> None:
    client = RecordingClient(leave_open=True)
    operation = StopMPUTask(app_id="a", task_id="t")
    job, silent = client.enqueue(operation, account="live-cn"), client.enqueue(operation, account="live-cn")
    assert job.cancel(by="ops").message == "cancelled by ops"
    assert silent.cancel().message is None
    shutdown = client.stop_room("r", [])
    client.register("r2", operation, account="live-cn")
    open_shutdown = client.stop_room("r2")
    assert shutdown.cancel(by="ops") is False
    assert open_shutdown.cancel(by="ops") is True
    assert told(client) == [
        (EventKind.CANCELLED, "live-cn", operation.spec.id, "ops", f"job {job.id} is cancelled"),
        (EventKind.CANCELLED, None, None, "ops", f"shutdown {open_shutdown.id} is cancelled"),
    ]
