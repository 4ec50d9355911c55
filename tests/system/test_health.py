"""What a container's health check says of a worker that waits, works, hangs and is gone."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from redis import Redis

from streamstop import Client, Command
from streamstop.operations import StopStreamIngest
from streamstop_worker.health import takes_jobs
from tests.support.polling import eventually
from tests.support.world import TENCENT, world

SOON = timedelta(seconds=2)


def health(redis_url: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STREAMSTOP_REDIS_URL": redis_url}
    command = [sys.executable, "-m", "streamstop_worker.health"]
    return subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=30)


def test_a_worker_is_healthy_while_it_waits_and_works_and_not_when_it_hangs_or_is_gone(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        worker = made.workers[0]
        eventually(lambda: takes_jobs(made.client, SOON), "healthy", 20)
        assert health(made.server.url).returncode == 0

        made.simulator.settings(auto_start=True, latency_ms=300)
        stops = [StopStreamIngest(sdk_app_id=1, task_id=f"t{n}") for n in range(40)]
        jobs = made.client.enqueue_many([Command(operation=stop, account=TENCENT) for stop in stops])
        while len(list(made.client.outcomes(jobs, timeout=0))) < len(jobs):
            assert takes_jobs(made.client, SOON)

        worker.signal(signal.SIGSTOP)
        eventually(lambda: not takes_jobs(made.client, SOON), "unhealthy", 20)
        worker.signal(signal.SIGCONT)
        eventually(lambda: takes_jobs(made.client, SOON), "healthy", 20)

        worker.kill()
        eventually(lambda: not takes_jobs(made.client, timedelta(hours=1)), "unhealthy", 20)
        unhealthy = health(made.server.url)
        assert unhealthy.returncode == 1
        assert unhealthy.stderr.strip() == "streamstop: no worker on this machine takes jobs"


def test_who_waits_for_something_in_another_database_is_no_worker(client: Client, redis_url: str) -> None:
    def waits() -> bool:
        return any(one["cmd"] == "blpop" for one in client.connections.redis.client_list())

    elsewhere = f"{redis_url.removesuffix('/0')}/1"
    with Redis.from_url(elsewhere) as other, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(other.blpop, ["theirs"], 60)
        try:
            eventually(waits, "a client that waits", 20)
            assert not takes_jobs(client, timedelta(hours=1))
        finally:
            with Redis.from_url(elsewhere) as another:
                another.lpush("theirs", "x")
        assert waiting.result(30)


def test_without_redis_a_worker_is_not_healthy_and_the_reason_is_one_line_without_a_password() -> None:
    unhealthy = health("redis://:s3cret@127.0.0.1:1/0")
    assert unhealthy.returncode == 1
    assert "Redis did not answer" in unhealthy.stderr
    assert len(unhealthy.stderr.splitlines()) == 1
    assert "s3cret" not in unhealthy.stderr
