"""Rooms, a step at a time: the scripts on a real Redis, and the fan-out as a generator that a test abandons."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import Client, Command, Result, Shutdown, ShutdownStatus
from streamstop._core.constants import ARRIVALS, WAKE
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, Take
from streamstop._core.membership import Membership
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import CALLBACKS, CONTROL, Rooms
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Retried
from streamstop.operations import StopPublishCdnStream, StopStreamIngest
from streamstop.outcomes import Outcome
from streamstop_worker.shutdowns import fan_out as shutdowns
from streamstop_worker.shutdowns import verify
from streamstop_worker.shutdowns.fan_out import Shutdowns
from tests.support.below import connections

LANE = Lane("trtc-intl", "trtc.StopPublishCdnStream")
ROOM = "room"
WAITS_AGAIN = '{"status": "RETRY", "result": null}'


@dataclass
class Hands:
    """A producer and a worker of one Redis, with every step made by hand."""

    redis: Any  # its replies are typed as awaitable or not; here they are not
    client: Client

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.redis)
        self.rooms = Rooms(self.redis, self.lanes)
        self.schedule = Schedule(self.redis)
        self.worker = Shutdowns(self.rooms, self.lanes)

    def register(self, *names: object) -> Shutdown | None:
        return self.client.register_many(ROOM, stops(*names))

    def stop(self, *names: object, **options: Any) -> Shutdown:
        return self.client.stop_room(ROOM, stops(*names), **options)

    def fan_out(self, shutdown: Shutdown) -> None:
        for _ in self.worker.fan_out(shutdown.id):
            pass

    def take_back(self, shutdown: Shutdown) -> None:
        for _ in self.worker.cancel_unclaimed(shutdown.id):
            pass

    def queued(self, lane: Lane = LANE) -> list[dict[str, Any]]:
        """Return the messages of a lane that no worker has taken, first to last."""
        found: list[bytes] = []
        for level in lane.waiting:
            found += reversed(self.redis.lrange(level, 0, -1))
        # What a worker put back stands behind its history, and a newline.
        return [json.loads(message.rpartition(b"\n")[2]) for message in found]

    def messages(self, lane: Lane = LANE) -> list[dict[str, Any]]:
        """Return their arguments."""
        return [json.loads(message["body"])[0][0] for message in self.queued(lane)]

    def members(self) -> list[str]:
        """Return the members whose jobs wait in the lane."""
        return [message["shutdown"]["member"] for message in self.messages()]

    def end(self, shutdown: Shutdown, member: str, result: Result = Result.STOPPED) -> None:
        """Let a member's job end, as a worker does."""
        membership = Membership(shutdown=shutdown.id, member=member)
        self.rooms.record_member_result(LANE, verify.member_result_of(membership, outcome(membership, result)))

    def take(self, lane: Lane = LANE) -> Take:
        """Let a worker take the lane's next job."""
        return self.schedule.take_unserved([lane], 1, lease=timedelta(seconds=15))


def stops(*names: object) -> list[Command]:
    return [
        Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id=str(name)), account=LANE.account) for name in names
    ]


def outcome(membership: Membership, result: Result, lane: Lane = LANE) -> Outcome:
    return Outcome(
        result=result,
        job_id=membership.job_id(lane),
        account=lane.account,
        operation=lane.operation,
        ended_at=datetime.now(UTC),
    )


@pytest.fixture
def hands(client: Client, real_redis: Redis) -> Hands:
    connections(client).known_accounts.publish({LANE.account: "tencent"})
    return Hands(real_redis, client)


# The fan-out, abandoned


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 4, 5, 6])
def test_a_fan_out_that_is_killed_after_any_batch_is_made_again_and_every_task_has_one_job(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(shutdowns, "BATCH", 100)
    hands.register(*range(600))
    shutdown = hands.stop(*range(500, 750))
    killed = hands.worker.fan_out(shutdown.id)
    for _ in range(batches):
        next(killed)
    hands.fan_out(shutdown)
    members = hands.members()
    assert len(members) == len(set(members)) == shutdown.progress().total == 750


def test_a_fan_out_that_is_killed_between_its_last_job_and_its_note_ends_when_it_is_made_again(hands: Hands) -> None:
    hands.register(*range(10))
    shutdown = hands.stop()
    killed = hands.worker.fan_out(shutdown.id)
    next(killed)
    for member in hands.members():
        hands.end(shutdown, member)
    assert shutdown.progress().status is ShutdownStatus.OPEN, "nobody knows yet that this was all"
    hands.fan_out(shutdown)
    progress = shutdown.progress()
    assert (progress.status, progress.total, progress.ended) == (ShutdownStatus.DONE, 10, 10)
    assert len(hands.members()) == 10


def test_two_fan_outs_of_one_shutdown_at_the_same_time_give_every_task_one_job(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdowns, "BATCH", 50)
    hands.register(*range(600))
    shutdown = hands.stop(*range(600, 900))
    running = [hands.worker.fan_out(shutdown.id) for _ in range(3)]
    while running:
        running = [one for one in running if next(one, None) is not None]
    members = hands.members()
    assert len(members) == len(set(members)) == shutdown.progress().total == 900


def test_a_fan_out_that_is_made_again_gives_the_same_shares(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdowns, "BATCH", 100)
    shutdown = hands.stop(*range(10))
    hands.fan_out(shutdown)
    hands.register(*range(10, 600))
    killed = hands.worker.fan_out(shutdown.id)
    next(killed)
    hands.fan_out(shutdown)
    hands.fan_out(shutdown)
    priorities = Counter(message["properties"]["priority"] for message in hands.queued())
    assert priorities == {3: 20, 6: 200, 9: 380}


# What joins, counts and ends


def test_stopping_a_room_twice_with_the_same_commands_stops_each_task_once(hands: Hands) -> None:
    shutdown = hands.stop("a", "b")
    hands.fan_out(shutdown)
    hands.end(shutdown, hands.members()[0])
    assert hands.stop("a", "b") == shutdown
    hands.fan_out(shutdown)
    assert (len(hands.members()), shutdown.progress().total) == (2, 2)


def test_a_task_that_is_registered_again_after_its_stop_is_stopped_again(hands: Hands) -> None:
    shutdown = hands.stop("a", "b")
    hands.fan_out(shutdown)
    hands.end(shutdown, hands.members()[0])
    assert hands.register("a") == shutdown
    hands.fan_out(shutdown)
    assert (len(hands.members()), shutdown.progress().total) == (3, 3)


def test_a_verified_stop_counts_in_the_lane_of_the_stop(hands: Hands) -> None:
    stop = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="a"), account=LANE.account)
    shutdown = hands.client.stop_room(ROOM, [stop], verify=True)
    hands.fan_out(shutdown)
    message = hands.messages(stop.lane)[0]
    membership = Membership.of_message(message)
    assert membership is not None
    status_lane = Lane(LANE.account, "trtc.DescribeStreamIngest")
    verified = verify.member_result_of(membership, outcome(membership, Result.VERIFIED))
    hands.rooms.record_member_result(status_lane, verified)
    lanes = [(lane.operation, lane.total, lane.ended) for lane in shutdown.progress().lanes]
    assert lanes == [("trtc.StopStreamIngest", 1, 1)]


def test_what_was_cancelled_before_it_had_a_job_counts_as_its_lanes_too(hands: Hands) -> None:
    shutdown = hands.stop("a", "b")
    assert shutdown.cancel()
    hands.take_back(shutdown)
    progress = shutdown.progress()
    assert (progress.status, progress.total, progress.ended) == (ShutdownStatus.CANCELLED, 2, 2)
    assert [(lane.total, lane.ended) for lane in progress.lanes] == [(2, 2)]


def test_a_shutdown_of_an_operation_that_this_worker_does_not_know_can_be_cancelled(hands: Hands) -> None:
    shutdown = hands.stop("a")
    key = f"streamstop.shutdown.{shutdown.id}:tasks"
    member, command = hands.redis.hgetall(key).popitem()
    hands.redis.hset(key, member, command.replace(b"trtc.StopPublishCdnStream", b"trtc.StopSomethingNew"))
    assert shutdown.cancel()
    hands.take_back(shutdown)
    assert shutdown.progress().status is ShutdownStatus.CANCELLED


def test_a_job_that_ends_after_its_shutdown_was_forgotten_leaves_no_key_behind(hands: Hands) -> None:
    shutdown = hands.stop("a")
    hands.fan_out(shutdown)
    for key in hands.redis.keys(f"streamstop.shutdown.{shutdown.id}*"):
        hands.redis.delete(key)
    hands.end(shutdown, hands.members()[0])
    assert hands.redis.keys("streamstop.shutdown.*") == []


def test_a_task_does_not_join_a_shutdown_that_is_forgotten(hands: Hands) -> None:
    shutdown = hands.stop()
    assert shutdown.progress().status is ShutdownStatus.DONE
    hands.redis.delete(f"streamstop.shutdown.{shutdown.id}")
    assert hands.register("a") is None
    assert hands.redis.keys("streamstop.shutdown.*") == []


def test_a_task_that_is_registered_again_while_its_stop_is_under_way_is_stopped_again(hands: Hands) -> None:
    """The vendor may have ended its predecessor already: the stop that is under way would end nothing else."""
    shutdown = hands.stop("a")
    hands.fan_out(shutdown)
    assert len(hands.take().jobs) == 1
    assert hands.register("a") == shutdown
    hands.fan_out(shutdown)
    assert (len(hands.members()), shutdown.progress().total) == (1, 2)
    (first,) = {*hands.redis.hkeys(f"streamstop.shutdown.{shutdown.id}:tasks")} - {hands.members()[0].encode()}
    hands.end(shutdown, first.decode())
    assert len(hands.client.room(ROOM).tasks) == 1, "the one that was started last still runs"
    hands.end(shutdown, hands.members()[0])
    assert hands.client.room(ROOM).tasks == ()
    assert shutdown.progress().status is ShutdownStatus.DONE


def test_a_task_that_is_registered_again_before_its_stop_is_claimed_is_stopped_once(hands: Hands) -> None:
    shutdown = hands.stop("a")
    hands.fan_out(shutdown)
    assert hands.register("a") == hands.register("a") == shutdown
    hands.fan_out(shutdown)
    assert (len(hands.members()), shutdown.progress().total) == (1, 1)


def test_a_job_of_a_shutdown_that_is_cancelled_while_it_waits_counts_in_it(hands: Hands) -> None:
    shutdown = hands.stop("a", "b")
    hands.fan_out(shutdown)
    membership = Membership(shutdown=shutdown.id, member=hands.members()[0])
    job_id = membership.job_id(LANE)
    assert hands.client.job(job_id).cancel().result is Result.CANCELLED
    take = hands.take()
    assert take.jobs == []
    assert [ended.job_id for ended in take.ended] == [job_id]
    hands.worker.record_cancelled_member(LANE, membership, hands.lanes.record_of(job_id))
    assert shutdown.progress().results == {Result.CANCELLED: 1}


def test_every_key_of_a_shutdown_ends(hands: Hands) -> None:
    hands.register("a", "b")
    shutdown = hands.stop("c", callback={"task": "told"})

    def without_end() -> list[bytes]:
        keys = hands.redis.keys("streamstop.shutdown.*") + hands.redis.keys("streamstop.room.*")
        return [key for key in keys if hands.redis.ttl(key) < 0]

    assert without_end() == []
    hands.fan_out(shutdown)
    assert without_end() == []
    for member in hands.members():
        hands.end(shutdown, member)
        assert without_end() == []
    assert shutdown.progress().status is ShutdownStatus.DONE
    ends = {hands.redis.ttl(key) for key in hands.redis.keys("streamstop.shutdown.*")}
    assert all(end <= 7 * 86400 for end in ends)
    assert hands.register("d") == shutdown
    assert without_end() == []


def test_a_shutdowns_first_jobs_do_not_wait_for_the_sweep(hands: Hands) -> None:
    shutdown = hands.stop("a", "b")
    assert hands.redis.spop(ARRIVALS, 9) == [CONTROL.name.encode()], "the fan-out is told at once"
    assert hands.redis.lpop(WAKE, 9) == [b"1"]
    hands.fan_out(shutdown)
    assert hands.redis.spop(ARRIVALS, 9) == [LANE.name.encode()]
    assert hands.redis.lpop(WAKE, 9) == [b"1"]


def test_a_fan_out_that_is_made_again_passes_over_what_it_finds_done(hands: Hands) -> None:
    hands.register(*range(1000))
    shutdown = hands.stop()
    killed = hands.worker.fan_out(shutdown.id)
    first = next(killed)
    assert sum(hands.worker.fan_out(shutdown.id)) == 1000 - first


def test_callbacks_wait_in_a_lane_of_their_own_where_they_hold_up_no_fan_out(hands: Hands) -> None:
    shutdown = hands.stop(callback={"task": "told"})
    assert shutdown.progress().status is ShutdownStatus.DONE
    assert hands.messages(CONTROL) == []
    assert [message["to"] for message in hands.messages(CALLBACKS)] == [{"task": "told"}]
    assert hands.redis.sismember(ARRIVALS, CALLBACKS.name)


def test_a_deferred_job_of_a_shutdown_that_is_cancelled_counts_in_it(hands: Hands) -> None:
    shutdown = hands.stop("a")
    hands.fan_out(shutdown)
    member = hands.members()[0]
    (job,) = hands.take().jobs
    later = timedelta(minutes=1)
    hands.schedule.report([Retried(job=job, delay=later, history=AttemptHistory(1, 1), record=WAITS_AGAIN, kept=later)])
    assert hands.client.job(job.job_id).cancel().result is Result.CANCELLED
    assert hands.members() == [member], "a worker meets it once more, to count it"
    take = hands.take()
    assert take.jobs == []
    assert [ended.job_id for ended in take.ended] == [job.job_id]
    membership = Membership(shutdown=shutdown.id, member=member)
    hands.worker.record_cancelled_member(LANE, membership, hands.lanes.record_of(job.job_id))
    assert shutdown.progress().results == {Result.CANCELLED: 1}
