"""Producers without streamstop announce no jobs: the workers' sweep finds them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from streamstop import Client, Deferral, Result
from streamstop._core.constants import ARRIVALS, WAKE
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop.operations import StopMPUTask
from streamstop_worker.accounts import Account
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.celery_messages import celery_message
from tests.support.polling import eventually
from tests.support.world import ALIYUN, world

#: Far beyond what the sweep takes to find a job, far below a hang.
TIMEOUT = 60
STOP = "live.StopMPUTask"
#: Of more accounts, the sweep looks at a part each second.
MANY = 520

#: A service that has Celery and nothing of ours: it says what it imported, and how its job ended.
SERVICE = """
import sys
from celery import Celery

url, account, task_id = sys.argv[1:]
app = Celery(broker=url, backend=url)
command = {"operation": "live.StopMPUTask", "account": account, "params": {"AppId": "a", "TaskId": task_id}}
sent = app.send_task("streamstop.execute", [command], queue=f"streamstop.lane.{account}.live.StopMPUTask")
print(sent.get(timeout=60)["result"])
print([name for name in sys.modules if name.startswith("streamstop")])
"""


def send_from_plain_celery(url: str, account: str, task_id: str) -> list[str]:
    """Return what a service without streamstop prints."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STREAMSTOP"))}
    command = [sys.executable, "-c", SERVICE, url, account, task_id]
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=2 * TIMEOUT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def push_by_hand(redis: Redis, lane: Lane, name: str, *, priority: int = 0) -> str:
    """Put a message into a lane as a producer in any language may, and return its job's id."""
    job_id = f"by-hand-{name}"
    redis.lpush(lane.waiting[priority // 3], celery_message(lane, job_id, priority=priority))
    return job_id


def ended(client: Client, job_id: str) -> Result:
    return client.job(job_id).outcome(TIMEOUT).result


def test_jobs_of_producers_that_announce_nothing_are_served(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        made.await_account(ALIYUN)
        assert send_from_plain_celery(made.server.url, ALIYUN, "plain") == ["stopped", "[]"]
        lane = Lane(ALIYUN, STOP)
        ids = [push_by_hand(made.redis, lane, f"p{priority}", priority=priority) for priority in (0, 3, 6, 9)]
        assert [ended(made.client, job_id) for job_id in ids] == [Result.STOPPED] * 4
        assert len(made.simulator.calls()) == 5


@pytest.mark.long
def test_an_unannounced_job_is_served_for_each_of_many_accounts(tmp_path: Path) -> None:
    accounts = [Account(f"many-{n:03}", "aliyun", f"fake-key-{n}", f"fake-secret-{n}") for n in range(MANY)]
    with world(tmp_path, accounts=accounts) as made:
        made.simulator.settings(auto_start=True)
        made.await_account(accounts[-1].name)
        chosen = [accounts[n].name for n in (0, 1, 2, 3, 4, 100, 259, 260, 400, MANY - 1)]
        ids = [push_by_hand(made.redis, Lane(name, STOP), name) for name in chosen]
        assert [ended(made.client, job_id) for job_id in ids] == [Result.STOPPED] * len(ids)
        last = accounts[300].name
        assert send_from_plain_celery(made.server.url, last, "plain") == ["stopped", "[]"]


@pytest.mark.long
def test_an_announced_job_is_taken_with_its_wake(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        job = made.client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ALIYUN)
        assert made.redis.smembers(ARRIVALS) == {f"{ALIYUN}.{STOP}".encode()}
        assert made.redis.lrange(WAKE, 0, -1) == [b"1"]
        made.simulator.settings(auto_start=True)
        made.start_worker()
        assert job.outcome(TIMEOUT).result is Result.STOPPED
        assert not made.redis.exists(ARRIVALS, WAKE)


@pytest.mark.long
def test_jobs_of_an_account_that_no_worker_has_wait_for_it_and_are_served_once_a_worker_has_it(tmp_path: Path) -> None:
    late = Account("late", "aliyun", "fake-late-key", "fake-late-secret")
    with world(tmp_path, workers=0) as made:
        made.simulator.settings(auto_start=True)
        lane = Lane(late.name, STOP)
        jobs = [made.client.enqueue(StopMPUTask(app_id="a", task_id=f"t{n}"), account=late.name) for n in range(5)]
        by_hand = made.client.job(push_by_hand(made.redis, lane, "late"))
        made.start_worker().await_line("left to another worker")
        assert send_from_plain_celery(made.server.url, ALIYUN, "meanwhile") == ["stopped", "[]"]
        waiting = (*jobs, by_hand)
        eventually(lambda: all(isinstance(job.peek(), Deferral) for job in waiting), "each job says that it waits")
        assert {call.account for call in made.simulator.calls()} == {ALIYUN}
        made.simulator.add_accounts(at_vendors([late]))
        made.write_accounts([*DEFAULT_ACCOUNTS, late])
        made.start_worker()
        ends = [job.outcome(TIMEOUT) for job in (*jobs, by_hand)]
        assert {(end.result, end.calls) for end in ends} == {(Result.STOPPED, 1)}


@pytest.mark.long
def test_a_job_of_an_account_that_no_worker_has_had_for_ten_minutes_is_refused_and_never_called(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.await_account(ALIYUN)
        lane = Lane("nobodys", STOP)
        (now_s, _) = made.redis.time()
        # As a worker put it back that left it first; a minute short of ten, and some seconds more than that.
        for name, since_s in (("waits", 540), ("over", 605)):
            history = AttemptHistory(left=int(now_s) - since_s)
            entry = b"\x01" + str(history).encode() + b"\n" + celery_message(lane, f"by-hand-{name}")
            made.redis.lpush(lane.queue, entry)
        made.redis.sadd(ARRIVALS, lane.name)
        refused = made.client.job("by-hand-over").outcome(TIMEOUT)
        assert (refused.result, refused.calls) == (Result.REFUSED, 0)
        assert "no running worker has account 'nobodys'" in (refused.message or "")
        waits = made.client.job("by-hand-waits").peek()
        assert waits is None or isinstance(waits, Deferral)
        assert made.simulator.calls() == []
