"""The container's health check for a worker that waits, works, hangs or is gone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from streamstop import Command
from streamstop._core.constants import WAKE
from streamstop.operations import StopStreamIngest
from streamstop_worker.health import takes_jobs
from streamstop_worker.settings import client_name
from tests.support.polling import eventually
from tests.support.world import TENCENT, world

SOON = timedelta(seconds=2)
HOURS = timedelta(hours=5)


def health(redis_url: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STREAMSTOP_REDIS_URL": redis_url}
    command = [sys.executable, "-m", "streamstop_worker.health"]
    return subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=30)


def test_a_worker_is_healthy_while_it_waits_and_works_and_not_when_it_hangs_or_is_gone(tmp_path: Path) -> None:
    with world(tmp_path) as made, made.server.client() as redis:
        worker = made.workers[0]
        eventually(lambda: takes_jobs(redis, SOON), "healthy", 20)
        assert health(made.server.url).returncode == 0

        made.simulator.settings(auto_start=True, latency_ms=300)
        stops = [StopStreamIngest(sdk_app_id=1, task_id=f"t{n}") for n in range(40)]
        jobs = made.client.enqueue_many([Command(operation=stop, account=TENCENT) for stop in stops])
        while len(list(made.client.outcomes(jobs, timeout=0))) < len(jobs):
            assert takes_jobs(redis, SOON)

        worker.signal(signal.SIGSTOP)
        eventually(lambda: not takes_jobs(redis, SOON), "unhealthy", 20)
        worker.signal(signal.SIGCONT)
        eventually(lambda: takes_jobs(redis, SOON), "healthy", 20)

        worker.kill()
        eventually(lambda: not takes_jobs(redis, HOURS), "unhealthy", 20)
        unhealthy = health(made.server.url)
        assert unhealthy.returncode == 1
        assert unhealthy.stderr.strip() == "streamstop: no worker on this machine takes jobs"


@contextmanager
def waiter(url: str, name: str | None) -> Iterator[None]:
    """Wait in BLPOP for a wake, as a worker does, with the name `name`."""
    with (
        Redis.from_url(url, client_name=name) as waiting,
        Redis.from_url(url) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        blocked = thread.submit(waiting.blpop, [WAKE], 60)
        try:
            while not any(one["cmd"] == "blpop" for one in other.client_list()):
                assert not blocked.done()
            yield
        finally:
            other.lpush(WAKE, 1)
        assert blocked.result(30)


@pytest.mark.parametrize(
    ("database", "name"),
    [
        ("0", None),
        ("0", "streamstop-worker"),
        ("0", f"{client_name()}.other"),
        ("1", client_name()),
        ("1", None),
    ],
)
def test_a_client_that_waits_in_another_database_or_under_another_name_is_not_this_worker(
    real_redis: Redis, redis_url: str, database: str, name: str | None
) -> None:
    with waiter(f"{redis_url.removesuffix('/0')}/{database}", name):
        assert not takes_jobs(real_redis, HOURS)
        assert health(redis_url).returncode == 1


def test_a_worker_is_known_by_its_machine_and_its_database(real_redis: Redis, redis_url: str) -> None:
    with waiter(redis_url, client_name()):
        assert takes_jobs(real_redis, HOURS)
    eventually(lambda: not takes_jobs(real_redis, HOURS), "unhealthy", 20)


@pytest.mark.parametrize("host", ["worker-7f9c", "a host\nwith spaces", "höst"])
def test_any_name_of_a_machine_is_a_name_that_redis_takes(
    host: str, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert real_redis.client_setname(client_name())
    assert real_redis.client_getname() == client_name()


def test_without_redis_a_worker_is_not_healthy_and_the_reason_is_one_line_without_a_password() -> None:
    unhealthy = health("redis://:s3cret@127.0.0.1:1/0")
    assert unhealthy.returncode == 1
    assert "Redis did not answer" in unhealthy.stderr
    assert len(unhealthy.stderr.splitlines()) == 1
    assert "s3cret" not in unhealthy.stderr
