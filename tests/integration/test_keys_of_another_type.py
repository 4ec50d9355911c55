"""Keys of another type on a real Redis: producers and the sweep report a bug, and other lanes go on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from streamstop import Client, Command, InternalError
from streamstop._core.constants import ACCOUNTS, BATCH, LEASED
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Queued
from streamstop._redis.batches import Batches
from streamstop._redis.staging import entry_of
from streamstop._wire.messages import celery_message
from streamstop.operations import StopMPUTask
from streamstop_worker.accounts import Accounts
from streamstop_worker.pipeline.bugs import EVENT
from streamstop_worker.pipeline.pacing import book_of
from streamstop_worker.upkeep.sweep import Sweeper
from tests.support.sweeper import LEASE, accounts_in, sweeper_of

STOP = StopMPUTask(app_id="a", task_id="t")
LANE, SOUND = Lane("live-cn", "live.StopMPUTask"), Lane("live-cn", "rtc.StopMPUTask")
FOREIGN = "of another program"


@pytest.mark.parametrize(
    ("key", "call"),
    [
        (LANE.queue, lambda client: client.enqueue(STOP, account="live-cn")),
        (ACCOUNTS, lambda client: client.enqueue(STOP, account="live-cn")),
        ("streamstop.room.r:state", lambda client: client.stop_room("r")),
        ("streamstop.room.r:state", lambda client: client.reopen_room("r")),
        ("streamstop.room.r:tasks", lambda client: client.register("r", STOP, account="live-cn")),
        ("streamstop.room.r:tasks", lambda client: client.unregister("r", STOP, account="live-cn")),
        ("streamstop.room.r:tasks", lambda client: client.room("r")),
        ("streamstop.shutdown.s", lambda client: client.shutdown("s").progress()),
        ("streamstop.shutdown.s", lambda client: client.shutdown("s").cancel()),
    ],
)
def test_a_producer_is_told_of_a_bug(
    client: Client, real_redis: Redis, key: str, call: Callable[[Client], object]
) -> None:
    real_redis.set(key, FOREIGN, ex=3600)
    with pytest.raises(InternalError, match="this is a bug in streamstop") as raised:
        call(client)
    assert "ResponseError WRONGTYPE" in str(raised.value)
    assert "did not answer" not in str(raised.value)
    assert isinstance(raised.value.__cause__, ResponseError)
    assert real_redis.get(key) == FOREIGN.encode()


def test_a_batch_that_is_accepted_is_enqueued_whatever_key_its_spreading_meets(
    client: Client, real_redis: Redis
) -> None:
    real_redis.set(LANE.queue, FOREIGN, ex=3600)
    jobs = client.enqueue_many([Command(operation=STOP, account="live-cn")] * 600)
    (batch,) = (key for key in real_redis.scan_iter(f"{BATCH}*") if key.startswith(BATCH.encode()))
    assert (len(jobs), real_redis.llen(batch)) == (600, 600)


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return accounts_in(tmp_path)


@pytest.fixture
def sweeper(real_redis: Redis, accounts: Accounts) -> Sweeper:
    return sweeper_of(real_redis, accounts)


def queued(lane: Lane) -> Queued:
    job_id = lane.new_job_id()
    return Queued(lane, 0, celery_message(job_id, lane, {"v": 1}, priority=0))


def test_a_lane_whose_leases_are_another_type_keeps_the_sweep_from_no_other(
    real_redis: Redis, sweeper: Sweeper
) -> None:
    for lane in (LANE, SOUND):
        real_redis.lpush(lane.queue, queued(lane).message)
        real_redis.sadd("streamstop.arrivals", lane.name)
    taken = sweeper._schedule.take(10, lease=LEASE, book=book_of(sweeper._accounts))
    assert len(taken.jobs) == 2
    real_redis.set(LANE.leases, FOREIGN, ex=3600)
    real_redis.zadd(SOUND.leases, {job.job_id: 1 for job in taken.jobs if job.lane == SOUND})
    real_redis.zadd(LEASED, {LANE.name: 1, SOUND.name: 1})
    with capture_logs() as lines:
        sweeper.sweep()
    (broken,) = [line for line in lines if line["log_level"] == "error"]
    assert (broken["event"], broken["lane"]) == (
        "a lane's keys are broken; the lane is retried in a second",
        LANE.name,
    )
    assert "WRONGTYPE" in broken["error"]
    assert real_redis.llen(SOUND.queue) == 1, "its lease ran out, and its job waits again"


def test_a_batch_whose_key_is_another_type_keeps_the_sweep_from_no_other_step(
    real_redis: Redis, sweeper: Sweeper
) -> None:
    sweeper.publish()
    batches = Batches(real_redis)
    broken, sound = (batches.stage([entry_of(queued(SOUND))]) for _ in range(2))
    for batch in (broken, sound):
        batches.accept(batch, 1)
    real_redis.set(BATCH + broken, FOREIGN, ex=3600)
    real_redis.lpush(LANE.queue, queued(LANE).message)  # announced to nobody: the last step of a sweep finds it
    with capture_logs() as lines:
        sweeper.sweep()
    (line,) = [line for line in lines if line["event"] == EVENT]
    assert "WRONGTYPE" in line["bug"]
    assert isinstance(line["exc_info"], ResponseError)
    assert real_redis.llen(SOUND.queue) == 1
    assert real_redis.zscore("streamstop.schedule", LANE.name) is not None


def test_a_strangers_lane_whose_pace_is_another_type_keeps_no_other_strangers_job(
    real_redis: Redis, sweeper: Sweeper
) -> None:
    strange, other = Lane("nobodys", "live.StopMPUTask"), Lane("nobodys", "rtc.StopMPUTask")
    for lane in (strange, other):
        real_redis.lpush(lane.queue, queued(lane).message)
    real_redis.set(strange.pace, FOREIGN, ex=3600)
    take = sweeper._schedule.take_unserved([strange, other], 10, lease=LEASE)
    assert [job.lane for job in take.jobs] == [other]
    assert (list(take.broken), "WRONGTYPE" in take.broken[strange]) == ([strange], True)
