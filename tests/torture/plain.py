"""Plain Celery as its users write it for jobs that must not be lost: late acknowledgement, on Redis.

This module is also the app of its workers: ``celery -A tests.torture.plain worker``. Calls are signed and read
by the same code as streamstop's. One httpx.Client, which all threads share, sends them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from celery import Celery, Task

from streamstop.operations import StopStreamIngest
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Request, Response

_REPOSITORY = Path(__file__).parents[2]
_READY_WITHIN_S = 60


@cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=float(os.environ["PLAIN_CALL_TIMEOUT"]), trust_env=False)


def _send(request: Request) -> Response:
    answered = _client().request(request.method, request.url, content=request.body, headers=request.headers)
    return Response(answered.status_code, dict(answered.headers), answered.content, secrets=request.secrets)


def _stop(name: str, key_id: str, key_secret: str) -> None:
    """Call the vendor. An error is the task's failure."""
    vendor = os.environ["PLAIN_VENDOR_URL"]
    account = Account("plain", "tencent", key_id, key_secret, region="ap-singapore", endpoint=vendor)
    protocol = PROTOCOLS[account.vendor]
    operation = StopStreamIngest(sdk_app_id=1, task_id=name)
    request = protocol.build(operation, account, now=datetime.now(UTC), nonce=str(uuid4()))
    answer = protocol.parse(operation, _send(request))
    if answer.meaning is not None:
        raise RuntimeError(f"{answer.code}: {answer.message}")


def make_app(redis_url: str | None) -> Celery:
    """Return an app with the one task ``stop``."""
    made = Celery("plain", broker=redis_url)
    made.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=4,
        worker_pool="threads",
        broker_connection_retry_on_startup=True,
    )
    made.task(name="stop")(_stop)
    return made


app = make_app(os.environ.get("PLAIN_REDIS_URL"))


@contextmanager
def producer(redis_url: str) -> Iterator["Task[Any, Any]"]:
    """Provide a producer's task, for ``apply_async``."""
    made = make_app(redis_url)
    try:
        yield made.tasks["stop"]
    finally:
        made.close()


class PlainFleet:
    """Workers of plain Celery. A worker that is killed is replaced at once."""

    def __init__(self, folder: Path, environ: dict[str, str], *, workers: int, threads: int) -> None:
        self._folder = folder
        self._environ = environ
        self._threads = threads
        self._started = 0
        self._processes = [self._start() for _ in range(workers)]

    def await_ready(self) -> None:
        """Wait until the first workers take messages."""
        deadline = time.monotonic() + _READY_WITHIN_S
        for log in self._folder.glob("plain-*.log"):
            while b"@plain ready." not in log.read_bytes():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the worker did not start:\n{log.read_text()}")
                time.sleep(0.05)

    def kill(self, number: int) -> None:
        """SIGKILL a worker, and start another."""
        self._processes[number].kill()
        self._processes[number].wait()
        self._processes[number] = self._start()

    def close(self) -> None:
        """Kill all of them."""
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        name = f"plain-{self._started}"
        self._started += 1
        command = [sys.executable, "-W", "ignore::celery.platforms.SecurityWarning", "-m", "celery"]
        command += ["-A", "tests.torture.plain", "worker", "-n", f"{name}@plain", "--loglevel", "INFO"]
        command += ["--concurrency", str(self._threads)]
        with (self._folder / f"{name}.log").open("wb") as output:
            return subprocess.Popen(
                command, env=os.environ | self._environ, stdout=output, stderr=subprocess.STDOUT, cwd=_REPOSITORY
            )
