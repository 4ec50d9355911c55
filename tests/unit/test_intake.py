"""The intake: a worker with room looks for jobs whenever some may be due, also after errors."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis, FakeServer
from kombu.asynchronous import Hub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

from streamstop._core.constants import ARRIVALS
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Take
from streamstop._redis.schedule import Schedule
from streamstop._wire.messages import celery_message
from streamstop_worker.celery_parts.intake import Intake
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.pacing import book_of
from streamstop_worker.pipeline.slots import Slots
from tests.support.pipeline import LEASE, Work, work

LANE = Lane("live-cn", "rtc.StopMPUTask")


class Faulty(Schedule):
    """A schedule whose Redis raises the errors that a test sets."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self.errors: list[Exception] = []
        self.looks: list[bool] = []

    def take(self, *arguments: Any, arrivals: bool = True, **options: Any) -> Take:
        self.looks.append(arrivals)
        if self.errors:
            raise self.errors.pop(0)
        return super().take(*arguments, arrivals=arrivals, **options)


class Channel:
    """What stands for kombu's channel: the consumer makes a request of each delivery, or fails over it."""

    def __init__(self, bench: "Bench") -> None:
        self.bench = bench
        self.is_consuming = True
        self.error: Exception | None = None
        self.has_consumer = True

    def deliver(self, _headers: Mapping[str, Any], tag: str) -> None:
        if self.has_consumer:
            delivery = self.bench.intake.delivered.pop(tag)
            if self.error is not None:
                raise self.error
            self.bench.seen.append(delivery)


class Bench:
    def __init__(self, parts: Work) -> None:
        self.redis, self.hub, self.slots = parts.redis, Hub(), Slots(concurrency=2)
        self.schedule = Faulty(parts.redis)
        self.seen: list[Delivery] = []
        self.unseen: list[Delivery] = []
        self.ended: list[Take] = []
        self.intake = Intake(
            self.schedule,
            self.slots,
            book=lambda: book_of(parts.accounts),
            lease=LEASE,
            on_ended_or_unserved=self.ended.append,
            on_undelivered=self.unseen.append,
        )
        self.channel = Channel(self)

    def connect(self) -> None:
        self.intake.connect(self.channel, self.hub)

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self.redis.lpush(LANE.queue, celery_message(LANE.new_job_id(), LANE, {}))
        self.redis.sadd(ARRIVALS, LANE.name)

    def end(self, count: int = 1) -> None:
        """Let jobs end, as the pool does."""
        for _ in range(count):
            self.slots.send()
            self.slots.end()

    def planned(self) -> int:
        """Return how many looks are planned."""
        return sum(not scheduled.entry.canceled for scheduled in self.hub.timer.queue)

    def run_planned(self) -> None:
        """Let the planned look come, as the hub does when its moment is there."""
        (entry,) = [scheduled.entry for scheduled in self.hub.timer.queue if not scheduled.entry.canceled]
        entry.cancel()
        entry.fun(*entry.args)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with FakeRedis(server=FakeServer()) as redis, work(redis, tmp_path) as parts:
        yield Bench(parts)


def test_a_worker_that_has_just_connected_takes_what_is_there(bench: Bench) -> None:
    bench.publish()
    bench.connect()
    bench.run_planned()
    assert (len(bench.seen), bench.slots.under_way) == (1, 1)


def test_a_wake_has_the_arrivals_taken(bench: Bench) -> None:
    bench.connect()
    bench.run_planned()
    bench.publish()
    bench.intake.on_wake()
    assert len(bench.seen) == 1


def test_jobs_that_there_was_no_room_for_are_taken_as_soon_as_there_is(bench: Bench) -> None:
    bench.connect()
    bench.publish(3)
    bench.intake.on_wake()
    assert len(bench.seen) == 2
    bench.intake.on_room()
    assert len(bench.seen) == 2
    bench.end()
    bench.run_planned()
    assert len(bench.seen) == 3


def test_a_wake_that_came_while_there_was_no_room_counts_as_soon_as_there_is(bench: Bench) -> None:
    bench.connect()
    bench.publish(2)
    bench.intake.on_wake()
    bench.publish(1)
    bench.intake.on_wake()
    assert len(bench.seen) == 2
    bench.end(2)
    bench.intake.on_room()
    assert len(bench.seen) == 3
    assert bench.schedule.looks[-1], "the arrivals are looked at"


@pytest.mark.parametrize("error", [RedisConnectionError(), ResponseError("a fault"), OSError(), ValueError("a fault")])
def test_a_look_that_fails_is_logged_and_followed_by_another(bench: Bench, error: Exception) -> None:
    bench.connect()
    bench.publish()
    bench.schedule.errors = [error]
    with pytest.raises(type(error)):
        bench.run_planned()
    assert bench.planned() == 1
    bench.run_planned()
    assert (len(bench.seen), bench.schedule.looks) == (1, [True, True])


def test_a_redis_that_refuses_for_now_is_asked_again(bench: Bench) -> None:
    bench.connect()
    bench.publish()
    bench.schedule.errors = [OutOfMemoryError("OOM command not allowed")]
    bench.run_planned()
    assert (bench.seen, bench.planned()) == ([], 1)
    bench.run_planned()
    assert len(bench.seen) == 1


def test_a_job_that_celery_cannot_be_shown_is_executed_and_delays_no_other(bench: Bench) -> None:
    bench.connect()
    bench.publish(3)
    bench.channel.error = RuntimeError("a header that Celery cannot read")
    bench.run_planned()
    assert (len(bench.unseen), bench.seen, bench.slots.under_way) == (2, [], 2)
    assert bench.planned() == 1
    assert bench.intake.delivered == {}


def test_a_job_that_reaches_no_consumer_is_executed(bench: Bench) -> None:
    bench.connect()
    bench.publish()
    bench.channel.has_consumer = False
    bench.run_planned()
    assert (len(bench.unseen), bench.intake.delivered) == (1, {})


def test_a_channel_without_a_consumer_takes_nothing_and_one_that_connects_anew_does(bench: Bench) -> None:
    bench.connect()
    bench.publish()
    bench.channel.is_consuming = False
    bench.run_planned()
    bench.intake.on_wake()
    assert bench.schedule.looks == []
    bench.channel = Channel(bench)
    bench.connect()
    bench.run_planned()
    assert len(bench.seen) == 1


def test_one_look_is_planned_at_a_time_also_after_a_reconnect(bench: Bench) -> None:
    bench.connect()
    bench.intake.due_in(timedelta(seconds=0))
    bench.connect()
    assert bench.planned() == 1
    bench.hub.reset()
    bench.connect()
    assert bench.planned() == 1


def test_a_lane_that_is_due_earlier_brings_the_look_forward_and_a_later_one_does_not(bench: Bench) -> None:
    bench.connect()
    bench.run_planned()  # nothing is there, and nobody knows of anything to come
    assert bench.planned() == 0
    bench.intake.due_in(timedelta(hours=1))
    bench.intake.due_in(timedelta(hours=2))
    bench.intake.due_in(timedelta(minutes=1))
    (at,) = [one.eta for one in bench.hub.timer.queue if not one.entry.canceled]
    assert at == pytest.approx(bench.intake._due_at, abs=600)
    bench.publish()
    bench.redis.zadd("streamstop.schedule", {LANE.name: 0})
    bench.run_planned()
    assert len(bench.seen) == 1


def test_news_of_a_due_lane_before_the_first_connection_harms_nothing(bench: Bench) -> None:
    bench.intake.due_in(timedelta(0))
    bench.intake.on_room()
    assert bench.schedule.looks == []


def test_a_worker_that_shuts_down_takes_nothing(bench: Bench) -> None:
    bench.connect()
    bench.publish()
    bench.slots.drain()
    bench.run_planned()
    bench.intake.on_wake()
    bench.intake.on_room()
    assert bench.schedule.looks == []


def test_jobs_that_had_ended_are_passed_on_after_the_others_are_delivered(bench: Bench) -> None:
    bench.connect()
    bench.publish()
    ended = LANE.new_job_id()
    argument = {"shutdown": {"shutdown": "s", "member": "m"}}
    bench.redis.rpush(LANE.queue, celery_message(ended, LANE, argument))
    bench.redis.set(f"celery-task-meta-{ended}", '{"status": "REVOKED"}')
    bench.run_planned()
    assert [[job.job_id for job in take.ended] for take in bench.ended] == [[ended]]
    assert len(bench.seen) == 1
