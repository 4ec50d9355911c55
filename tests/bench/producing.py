"""The bench's producer, in its own process. It reads one order per line, and answers each with a line of JSON.

``python -m tests.bench.producing URL`` uses the ``streamstop`` that its PYTHONPATH finds, which may be another
checkout's; with ``plain`` after the URL, it publishes for the plain Celery workers. Tasks are named by a number and the
moment of their sending.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from streamstop import Client, Command
from streamstop.errors import OutcomeTimeout
from streamstop.operations import find

_REPOSITORY = Path(__file__).parents[2]
#: Operations with the same two parameters.
OPERATIONS = (
    "live.StopMPUTask",
    "live.StopLiveMPUTask",
    "rtc.StopMPUTask",
    "live.GetMPUTaskStatus",
    "rtc.GetMPUTaskStatus",
)
_PATIENCE_S = 60
STOP, PROBE = OPERATIONS[0], OPERATIONS[1]


class Producer:
    """The harness' handle of the process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def order(self, do: str, **values: Any) -> dict[str, Any]:
        """Send an order, and return the answer. Each method of the class below is an order."""
        self.begin(do, **values)
        return self.end()

    def begin(self, do: str, **values: Any) -> None:
        """Send an order, and do not wait for the answer."""
        self._write(json.dumps({"do": do, **values}))

    def end(self) -> dict[str, Any]:
        """Wait for the answer. A probe runs until then."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the producer has ended")
        reply: dict[str, Any] = json.loads(line)
        return reply

    @contextmanager
    def probing(self, account: str, every_s: float) -> Iterator[None]:
        """Enqueue a stop of `account` at intervals until the block ends."""
        self.begin("probe", account=account, every_s=every_s)
        try:
            yield
        finally:
            self._write("")
            self.end()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@contextmanager
def producer(redis_url: str, *arguments: str, environ: Mapping[str, str]) -> Iterator[Producer]:
    """Run a producer until the block ends."""
    command = [sys.executable, "-m", "tests.bench.producing", redis_url, *arguments]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=_REPOSITORY, env={**os.environ, **environ}) as process:
        try:
            made = Producer(process)
            made.end()
            yield made
        finally:
            process.kill()


@dataclass(frozen=True)
class _Streamstop:
    client: Client
    numbers: Iterator[int]

    def send(self, accounts: Sequence[str], operations: Sequence[str], jobs: int) -> dict[str, Any]:
        """Enqueue jobs in one call, with the lanes in turn."""
        commands = self._commands(accounts, operations, jobs)
        return _timed(lambda: self.client.enqueue_many(commands))

    def probe(self, account: str, every_s: float) -> dict[str, Any]:
        sent = 0
        while not select.select([sys.stdin], [], [], every_s)[0]:
            for command in self._commands([account], [PROBE], 1):
                self.client.enqueue(command.operation, account=command.account)
                sent += 1
        sys.stdin.readline()
        return {"sent": sent}

    def single(self, account: str, times: int) -> dict[str, Any]:
        """Time single calls of `enqueue`."""
        commands = self._commands([account], [PROBE], times)
        return _each([partial(self.client.enqueue, one.operation, account=account) for one in commands])

    def register(self, room: str, account: str, jobs: int) -> dict[str, Any]:
        commands = self._commands([account], [STOP], jobs)
        return _timed(lambda: self.client.register_many(room, commands))

    def stop(self, room: str) -> dict[str, Any]:
        began = time.perf_counter()
        shutdown = self.client.stop_room(room)
        return {"took_s": time.perf_counter() - began, "shutdown": shutdown.id}

    def progress(self, shutdown: str, times: int) -> dict[str, Any]:
        return _each([self.client.shutdown(shutdown).progress] * times)

    def cancel(self, shutdown: str) -> dict[str, Any]:
        """Cancel; return the time until the return, and until everything had ended, None if that took too long."""
        handle = self.client.shutdown(shutdown)
        timed = _timed(handle.cancel)
        try:
            ended_s: float | None = timed["took_s"] + _timed(lambda: handle.wait(_PATIENCE_S))["took_s"]
        except OutcomeTimeout:
            ended_s = None
        return timed | {"ended_s": ended_s}

    def _commands(self, accounts: Sequence[str], operations: Sequence[str], jobs: int) -> list[Command]:
        lanes = [(account, find(operation)) for operation in operations for account in accounts]
        named = [(*lanes[number % len(lanes)], f"{next(self.numbers)}-{time.time():.6f}") for number in range(jobs)]
        return [Command(operation=kind(app_id="bench", task_id=task), account=account) for account, kind, task in named]


@dataclass(frozen=True)
class _Plain:
    task: Any

    def send(self, accounts: Sequence[str], operations: Sequence[str], jobs: int) -> dict[str, Any]:
        lanes = [(account, operation) for operation in operations for account in accounts]

        def publish() -> None:
            for number in range(jobs):
                account, operation = lanes[number % len(lanes)]
                self.task.apply_async((account, "bench", f"{number}-{time.time():.6f}", operation))

        return _timed(publish)


def _timed(do: Callable[[], object]) -> dict[str, Any]:
    began = time.perf_counter()
    do()
    return {"took_s": time.perf_counter() - began}


def _each(calls: Sequence[Callable[[], object]]) -> dict[str, Any]:
    return {"median_s": median(_timed(call)["took_s"] for call in calls)}


def _serve(hand: Any) -> None:
    _say({})
    while line := sys.stdin.readline():
        values = json.loads(line)
        _say(getattr(hand, values.pop("do"))(**values))


def _say(values: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    url, *plain = sys.argv[1:]
    if plain:
        from tests.bench import plain_celery

        with plain_celery.producer(url) as task:
            _serve(_Plain(task))
    else:
        # A command that takes Redis long is to be measured, and must not end the run.
        with Client(url, timeout=timedelta(seconds=_PATIENCE_S)) as client:
            _serve(_Streamstop(client, count()))
