"""The demo on a Redis that was already running: it changes no other keys, and removes its own."""

from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from streamstop import Client, Command
from streamstop._core.constants import WAKE
from streamstop._core.lane import Lane
from streamstop._core.pace import Pace
from streamstop._redis.schedule import Book, Schedule
from streamstop.operations import StopMPUTask
from streamstop_simulator.demo.broker import InUse, broker, clear, refuse_if_used
from streamstop_simulator.demo.interrupt import Interrupt
from streamstop_simulator.demo.scenario import ACCOUNTS, LANES
from tests.support.client_connections import connections_of

NAMES = [account.name for account in ACCOUNTS]
OWN = [scene.lane for scene in LANES]
STOP = StopMPUTask(app_id="app", task_id="task")


def test_an_unused_redis_is_taken(client: Client) -> None:
    refuse_if_used(client, NAMES)


def test_a_redis_whose_workers_have_other_accounts_is_refused(client: Client) -> None:
    connections_of(client).known_accounts.publish({"live-cn": "aliyun", "demo-tencent": "tencent"})
    with pytest.raises(InUse, match="live-cn"):
        refuse_if_used(client, NAMES)


def test_a_redis_that_holds_others_jobs_is_refused_even_without_workers(client: Client) -> None:
    client.enqueue(STOP, account="live-cn")
    with pytest.raises(InUse, match="live-cn"):
        refuse_if_used(client, NAMES)


def test_a_redis_where_another_demo_runs_is_refused(client: Client) -> None:
    client.enqueue(STOP, account="demo-aliyun-1")
    connections_of(client).known_accounts.publish({account.name: account.vendor for account in ACCOUNTS})
    with pytest.raises(InUse, match="Another demo"):
        refuse_if_used(client, NAMES)


def test_leftovers_of_a_killed_demo_do_not_stop_the_next_one(client: Client) -> None:
    client.enqueue(STOP, account="demo-aliyun-1")
    refuse_if_used(client, NAMES)


def test_clearing_takes_everything_of_the_demo_and_nothing_else(
    client: Client, real_redis: Redis, redis_url: str
) -> None:
    own = [task.command for scene in LANES for task in scene.tasks()]
    client.enqueue_many([Command(operation=STOP, account="live-cn")])
    connections_of(client).known_accounts.publish({"live-cn": "aliyun"})
    others = _everything(real_redis)
    connections_of(client).known_accounts.publish({account.name: account.vendor for account in ACCOUNTS})
    jobs = client.enqueue_many(own)
    jobs[-1].cancel()
    assert _everything(real_redis) != others
    clear(client, redis_url, ACCOUNTS, OWN, "demo-room", jobs=jobs)
    assert _everything(real_redis) == others


def test_clearing_an_empty_redis_does_nothing(client: Client, real_redis: Redis, redis_url: str) -> None:
    clear(client, redis_url, ACCOUNTS, OWN, "demo-room")
    assert real_redis.dbsize() == 0


def test_fakeredis_runs_the_lanes_scripts(tmp_path: Path) -> None:
    with broker(tmp_path, Interrupt(), fake=True) as redis, Client(redis.url) as client:
        jobs = client.enqueue_many(Command(operation=STOP, account="live-cn") for _ in range(3))
        book = Book({"live-cn": "aliyun"}, {}, Pace.of_limit(10), {})
        take = Schedule(connections_of(client).redis).take(1, lease=timedelta(seconds=15), book=book)
        view = client.lanes([Lane("live-cn", "live.StopMPUTask")])[0]
        outcome = jobs[-1].cancel()
    assert [job.job_id for job in take.jobs] == [jobs[0].id]
    assert (view.waiting, view.in_flight) == (2, 1)
    assert outcome.result == "cancelled"


def _everything(redis: Redis) -> dict[bytes, bytes | None]:
    # A wake belongs to no lane: its taker looks at all of them, and a lost one costs a second at most.
    return {key: redis.dump(key) for key in redis.scan_iter() if key != WAKE.encode()}
