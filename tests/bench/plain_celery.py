"""The plain Celery way at its best: a token bucket in Redis, and ``self.retry(countdown=…)`` when it is empty.

Late acknowledgement, a prefetch of one, no results, and Celery's defaults otherwise. The same code as streamstop's
signs the calls, and httpx sends them. Lanes without a limit have no bucket. This module is also the app of its
workers: ``celery -A tests.bench.plain_celery``.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from celery import Celery, Task
from redis import Redis

from streamstop.operations import Meaning, find
from streamstop.operations.aliyun import StopMPUTask
from streamstop_simulator.child_process import end
from streamstop_simulator.demo.embedded_redis import RedisServer
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Request, Response
from tests.bench.scenario import LIMIT, THREADS, WORKERS, Scenario

_REPOSITORY = Path(__file__).parents[2]
_START_TIMEOUT_S = 60

#: The bucket holds one token. A larger one would let through twice the limit in its first second.
#: KEYS[1] the bucket; ARGV[1] tokens per second. Returns µs until there is a token: 0, one was taken.
_TOKEN_BUCKET = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = tonumber(redis.call('GET', KEYS[1]) or 0)
if due > now then return string.format('%.0f', due - now) end
redis.call('SET', KEYS[1], string.format('%.0f', now + 1000000 / ARGV[1]), 'EX', 60)
return '0'
"""


# Celery sets the root logger to INFO, and httpx logs each request at that level.
logging.getLogger("httpx").setLevel(logging.WARNING)


@cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=10, trust_env=False)


def _send(request: Request) -> Response:
    answer = _client().request(request.method, request.url, headers=request.headers, content=request.body)
    return Response(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)


@cache
def _take_token() -> Any:
    return Redis.from_url(os.environ["BENCH_REDIS_URL"]).register_script(_TOKEN_BUCKET)


def _stop(
    self: "Task[Any, Any]", account: str, app_id: str, task_id: str, operation_id: str = StopMPUTask.spec.id
) -> None:
    """Call the vendor, or retry when the bucket has a token again."""
    if limit := os.environ["BENCH_LIMIT"]:
        wait_us = int(_take_token()(keys=[f"bucket:{account}"], args=[limit]))
        if wait_us > 0:
            raise self.retry(countdown=wait_us / 1_000_000)
    credentials = Account(
        account, "aliyun", f"key-{account}", f"secret-{account}", endpoint=os.environ["BENCH_VENDOR_URL"]
    )
    operation = find(operation_id)(app_id=app_id, task_id=task_id)
    protocol = PROTOCOLS["aliyun"]
    request = protocol.build(operation, credentials, now=datetime.now(UTC), nonce=str(uuid4()))
    answer = protocol.parse(operation, _send(request))
    if answer.meaning is Meaning.THROTTLED:
        raise self.retry(countdown=1)
    if answer.meaning is not None:
        raise RuntimeError(f"{answer.code}: {answer.message}")


def make_app(redis_url: str | None) -> Celery:
    """Return an app with the one task ``stop``."""
    made = Celery("plain", broker=redis_url)
    made.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=THREADS,
        broker_connection_retry_on_startup=True,
    )
    made.task(name="stop", bind=True, max_retries=None)(_stop)
    return made


app = make_app(os.environ.get("BENCH_REDIS_URL"))


@contextmanager
def producer(redis_url: str) -> Iterator["Task[Any, Any]"]:
    """Provide a producer's task, for ``apply_async``."""
    made = make_app(redis_url)
    try:
        yield made.tasks["stop"]
    finally:
        made.close()


@dataclass(frozen=True)
class _Running:
    stop: "Task[Any, Any]"
    worker_pids: Sequence[int]

    def send(self, account: str, stops: Sequence[StopMPUTask]) -> None:
        for one in stops:
            self.stop.apply_async((account, one.app_id, one.task_id))


class PlainCeleryWay:
    """Celery as its users write it."""

    name = "plain Celery"

    @contextmanager
    def run(self, redis: RedisServer, vendor_url: str, scenario: Scenario, folder: Path) -> Iterator[_Running]:
        """Run the workers until the block ends."""
        with ExitStack() as stack:
            processes = [
                stack.enter_context(worker(number, redis.url, vendor_url, folder, LIMIT))
                for number in range(1, WORKERS + 1)
            ]
            yield _Running(stack.enter_context(producer(redis.url)), [process.pid for process in processes])


@contextmanager
def worker(
    number: int, redis_url: str, vendor_url: str, folder: Path, limit: float | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the block ends; each account may make `limit` calls a second."""
    log = folder / f"plain-{number}.log"
    command = [sys.executable, "-W", "ignore::celery.platforms.SecurityWarning", "-m", "celery"]
    command += ["-A", "tests.bench.plain_celery", "worker", "-n", f"plain{number}@bench", "--loglevel", "INFO"]
    environ = {**os.environ, "BENCH_REDIS_URL": redis_url, "BENCH_VENDOR_URL": vendor_url}
    environ["BENCH_LIMIT"] = "" if limit is None else str(limit)
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT, cwd=_REPOSITORY)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while "@bench ready." not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield process
    finally:
        end(process, 30)
