"""The load of the soak: a process that enqueues jobs at an even rate, and the record of the jobs that have not ended.

``python -m tests.bench.soak_load URL RATE LANES SECONDS`` is that process: a service that enqueues one job at a time,
or, at a rate that single enqueues could not keep up with beside the workers, those of 10 ms at once.
"""

import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from streamstop import Client, Command
from streamstop._core.lane import Lane, result_key
from streamstop._wire.results import read_record
from streamstop.operations import (
    DeleteCloudRecording,
    DescribeStreamIngest,
    Operation,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopMPUTask,
    StopPublishCdnStream,
    StopStreamIngest,
    StopWebRecord,
)
from streamstop.outcomes import Outcome
from streamstop_worker.accounts import Account

_REPOSITORY = Path(__file__).parents[2]
_ALIYUN: tuple[type[Operation], ...] = (
    StopMPUTask,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopEdgeTranscodeJob,
    RtcStopMPUTask,
)
_TENCENT: tuple[type[Operation], ...] = (
    StopStreamIngest,
    StopPublishCdnStream,
    DeleteCloudRecording,
    StopWebRecord,
    DescribeStreamIngest,
)
OPERATIONS_EACH = len(_ALIYUN)
#: Parameters that are the same in every call. An operation's remaining parameter names the task.
_SAME = {"AppId": "soak", "ClusterId": "soak", "SdkAppId": 1, "Region": "cn-shanghai", "RegionId": "cn-shanghai"}
_BATCH = 500
#: The highest rate at which jobs are enqueued singly, and how long jobs are collected above that rate.
_SINGLY, _GATHERED_S = 400, 0.01


def accounts_for(lanes: int) -> list[Account]:
    """Return the accounts for `lanes` lanes with five operations each. Every fifth account is at the second vendor."""
    return [
        Account(f"soak-{n}", "tencent" if n % 5 == 4 else "aliyun", f"key-{n}", f"secret-{n}")
        for n in range(lanes // OPERATIONS_EACH)
    ]


def lanes_of(accounts: Sequence[Account]) -> list[tuple[str, type[Operation]]]:
    """Return the lanes. Neighbours belong to different accounts."""
    kinds = {"aliyun": _ALIYUN, "tencent": _TENCENT}
    return [(one.name, kinds[one.vendor][n]) for n in range(OPERATIONS_EACH) for one in accounts]


def operation_ids() -> list[str]:
    """Return the operations that the load calls."""
    return [kind.spec.id for kind in (*_ALIYUN, *_TENCENT)]


def command_of(kind: type[Operation], number: int, now: float) -> Operation:
    """Return an operation on a new task, whose name holds the moment of enqueueing (`now`, s since the epoch)."""
    names = [field.alias for field in kind.model_fields.values() if field.alias]
    return kind(**{name: _SAME.get(name, f"{number}-{now:.6f}") for name in names})


def enqueued_at(params: dict[str, Any]) -> float:
    """Return when the operation that a call carried was enqueued, in s since the epoch."""
    (name,) = (str(value) for key, value in params.items() if key not in _SAME)
    return float(name.partition("-")[2])


def _produce(url: str, rate: float, lanes: int, seconds: float) -> None:
    """Enqueue each job when it is due, and print its id."""
    turns = lanes_of(accounts_for(lanes))
    size = 1 if rate <= _SINGLY else round(rate * _GATHERED_S)
    began = time.monotonic()
    with Client(url) as client:
        for first in range(0, int(rate * seconds), size):
            time.sleep(max(0.0, began + first / rate - time.monotonic()))
            commands = []
            for number in range(first, min(first + size, int(rate * seconds))):
                account, kind = turns[number % len(turns)]
                commands.append(Command(operation=command_of(kind, number, time.time()), account=account))
            for job in client.enqueue_many(commands):
                sys.stdout.write(f"{job.id}\n")
            sys.stdout.flush()


class Book:
    """Every job that the producer has printed and that has not ended. Of ended jobs it keeps only counts.

    It reads each outcome, checks it, and deletes it, as a service that keeps its own books might.
    """

    def __init__(self, redis: Redis, producer: "subprocess.Popen[str]") -> None:
        self._redis: Any = redis
        self._producer = producer
        self._told: deque[str] = deque()
        self._open: set[str] = set()
        self.enqueued = 0
        self.results: Counter[str] = Counter()
        self.called_again = 0
        #: The size of the outcomes that were read last.
        self.record_bytes = 0
        self._reader = threading.Thread(target=self._read, name="soak-book", daemon=True)
        self._reader.start()

    @property
    def ended(self) -> int:
        """How many jobs' outcomes were read."""
        return self.results.total()

    @property
    def is_over(self) -> bool:
        """Whether everything was enqueued and has ended."""
        return not self._reader.is_alive() and not self._told and not self._open

    @property
    def producer_failed(self) -> bool:
        """Whether the producer has ended with an error."""
        return self._producer.poll() not in {None, 0}

    def settle(self) -> None:
        """Read, check and delete the outcomes that have been recorded."""
        while self._told:
            self._open.add(self._told.popleft())
        ids = list(self._open)
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            records = self._redis.mget([result_key(job_id) for job_id in batch])
            ended = [job_id for job_id, record in zip(batch, records, strict=True) if self._has_ended(job_id, record)]
            if ended:
                self.record_bytes = self._redis.memory_usage(result_key(ended[0])) or self.record_bytes
                self._redis.unlink(*(result_key(job_id) for job_id in ended))
                self._open.difference_update(ended)

    def _has_ended(self, job_id: str, record: bytes | None) -> bool:
        outcome = None if record is None else read_record(record)
        if not isinstance(outcome, Outcome):
            return False
        lane = Lane.of_job(job_id)
        if outcome.job_id != job_id or lane != Lane(outcome.account, outcome.operation):
            raise RuntimeError(f"the outcome of {job_id} is another job's: {outcome.job_id}")
        self.results[outcome.result.value] += 1
        self.called_again += outcome.calls > 1
        return True

    def _read(self) -> None:
        for line in self._producer.stdout or ():
            self._told.append(line.strip())
            self.enqueued += 1


@contextmanager
def load(redis: Redis, url: str, rate: float, lanes: int, seconds: float) -> Iterator[Book]:
    """Run the producer until the block ends."""
    arguments = [url, str(rate), str(lanes), str(seconds)]
    command = [sys.executable, "-m", "tests.bench.soak_load", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY) as producer:
        try:
            yield Book(redis, producer)
        finally:
            producer.terminate()


if __name__ == "__main__":
    _produce(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
