"""Leases of different lengths, and a clock that is set back, whichever worker notices it."""

import asyncio
from datetime import timedelta

from redis import Redis

from streamstop._core.constants import ARRIVALS
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop._core.pace import Pace
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import CONTROL, CONTROL_PACE, Rooms
from streamstop._redis.schedule import Book, Schedule
from streamstop._wire.messages import celery_message as celery_message_of
from streamstop._wire.reports import Report, Retried
from streamstop_worker.pipeline.deliveries import deliveries
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.pipeline.steps import LEASE, Steps
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.transport import Transport
from tests.support.celery_messages import celery_message
from tests.support.manual_clock import ManualClock

LANE = Lane("live-a", "live.StopMPUTask")
SECOND = timedelta(seconds=1)
WAITS_AGAIN = '{"status": "RETRY"}'
LEASE_OF_A_CALL = timedelta(seconds=8)
BOOK = Book(
    accounts={LANE.account: "aliyun", CONTROL.account: ""},
    operations={CONTROL.operation: CONTROL_PACE},
    otherwise=Pace.of_limit(10),
    lanes={},
)


def put(redis: Redis, lane: Lane, message: bytes) -> None:
    redis.lpush(lane.queue, message)
    redis.sadd(ARRIVALS, lane.name)


def test_a_clock_that_is_set_back_holds_up_no_lane_though_the_worker_that_swept_before_is_gone(
    redis: Redis, clock: ManualClock
) -> None:
    gone, another = Schedule(redis), Schedule(redis)
    gone.publish(BOOK)
    for name in ("a", "b"):
        put(redis, LANE, celery_message(LANE, f"{LANE.name}.{name}"))
    assert len(gone.take(1, lease=LEASE_OF_A_CALL, book=BOOK).jobs) == 1
    assert gone.sweep(longest_lease=SECOND, period=SECOND) is not None
    clock.advance(-3600 * SECOND)
    swept = another.sweep(longest_lease=SECOND, period=SECOND)
    assert swept is not None
    assert swept.rescheduled == 1
    another.take(1, lease=LEASE_OF_A_CALL, book=BOOK)  # now its next slot is at most a second and an interval ahead
    clock.advance(2 * SECOND)
    assert [job.job_id for job in another.take(1, lease=LEASE_OF_A_CALL, book=BOOK).jobs] == [f"{LANE.name}.b"]


def test_a_step_of_a_shutdown_has_a_lease_of_its_own_before_it_begins(redis: Redis, clock: ManualClock) -> None:
    schedule, lanes = Schedule(redis), Lanes(redis)
    schedule.publish(BOOK)
    job_id = f"{CONTROL.name}.1"
    put(redis, CONTROL, celery_message_of(job_id, CONTROL, {"step": "fan_out", "shutdown": "unknown"}).encode())
    (delivery,) = deliveries(schedule.take(1, lease=SECOND, book=BOOK), asked_at=0, taken_at=0)
    ends: list[float | None] = []

    async def report(report: Report) -> timedelta | None:
        rest = schedule.report([report]).rests[0]
        ends.append(redis.zscore(CONTROL.leases, job_id))
        return rest

    async def carry_out() -> None:
        transport = Transport(SECOND, 1)
        control = Steps(
            schedule=schedule,
            shutdowns=Shutdowns(Rooms(redis, lanes), lanes),
            transport=transport,
            send_signature=lambda *_: None,
            secret=None,
            report=report,
            slots=Slots(1),
            record_ttl=SECOND,
            random=lambda: 0.0,
        )
        await control.execute(delivery, lambda: None)
        await transport.close()

    asyncio.run(carry_out())
    assert ends == [clock.now_us + LEASE / timedelta(microseconds=1), None]


def test_a_job_is_retried_even_if_its_lanes_pace_has_expired(redis: Redis, clock: ManualClock) -> None:
    schedule = Schedule(redis)
    schedule.publish(BOOK)
    put(redis, LANE, celery_message(LANE, f"{LANE.name}.a"))
    (job,) = schedule.take(1, lease=LEASE_OF_A_CALL, book=BOOK).jobs
    retried = Retried(
        job=job,
        call=LastCall.FAULT,
        delay=60 * SECOND,
        history=AttemptHistory(1, 1),
        record=WAITS_AGAIN,
        kept=timedelta(days=1),
    )
    schedule.report([retried])
    redis.delete(LANE.pace)
    clock.advance(61 * SECOND)
    assert [job.job_id for job in schedule.take(1, lease=LEASE_OF_A_CALL, book=BOOK).jobs] == [f"{LANE.name}.a"]
