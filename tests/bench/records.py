"""``python -m tests.bench.records``: the memory that ended jobs take, measured on a real Redis.

It prints the tables of ``docs/guides/sizes.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from streamstop._core.lane import Lane, result_key
from streamstop._wire.results import outcome_record
from streamstop.outcomes import Outcome, Result
from streamstop.settings import OUTCOMES_KEPT
from streamstop_simulator.demo.embedded_redis import redis_server

#: So many that the share of Redis' tables, which grow by doubling, is as in production.
_RECORDS = 50_000
_RATES = (1, 10, 50, 200)
_REQUEST_ID = "CD4A1F0E-5B1C-5A1B-9C0D-1F7B2E3A4C5D"
_TASK_ID = "6f1d2b9c-7b1e-4f0a-9d3c-2a5b8e7f6c1d"


@dataclass(frozen=True)
class _Kind:
    """Outcomes of one kind."""

    name: str
    lane: Lane
    params: Mapping[str, Any]
    result: Result = Result.STOPPED
    code: str | None = None
    message: str | None = None

    def outcome(self) -> Outcome:
        """Return the outcome of another job."""
        ended_at = datetime.now(UTC)
        return Outcome(
            result=self.result,
            job_id=self.lane.new_job_id(),
            operation=self.lane.operation,
            account=self.lane.account,
            params=dict(self.params),
            code=self.code,
            message=self.message,
            request_id=_REQUEST_ID,
            attempts=1,
            calls=1,
            call_seconds=0.087,
            enqueued_at=ended_at - timedelta(milliseconds=123),
            ended_at=ended_at,
        )


_LIVE = Lane("live-cn", "live.StopMPUTask")
_KINDS = (
    _Kind("Alibaba, stopped", _LIVE, {"AppId": "b3f6c1a2", "TaskId": _TASK_ID}),
    _Kind("Tencent, stopped", Lane("trtc-sg", "trtc.StopStreamIngest"), {"SdkAppId": 1400000000, "TaskId": _TASK_ID}),
    _Kind(
        "the same, with an account's name of 24 characters",
        Lane("tencent-live-production1", "trtc.StopStreamIngest"),
        {"SdkAppId": 1400000000, "TaskId": _TASK_ID},
    ),
    _Kind(
        "Alibaba, not found",
        _LIVE,
        {"AppId": "b3f6c1a2", "TaskId": _TASK_ID},
        Result.NOT_FOUND,
        "CodeTaskNotExist",
        "The specified task does not exist.",
    ),
)


@dataclass(frozen=True)
class Size:
    """The memory that a record of one kind takes."""

    characters: int
    #: ``MEMORY USAGE`` of one key.
    of_key: int
    #: The growth of ``used_memory`` for each of many records. It includes Redis' tables of keys and expiries.
    in_all: int


def measure(kind: _Kind) -> tuple[str, Size]:
    """Return the version of Redis, and the memory that a record of `kind` takes."""
    with redis_server() as server, server.client() as redis:
        before = redis.info("memory")["used_memory"]
        pipeline = redis.pipeline(transaction=False)
        for _ in range(_RECORDS):
            outcome = kind.outcome()
            pipeline.set(result_key(outcome.job_id), record := outcome_record(outcome), ex=OUTCOMES_KEPT)
            if len(pipeline) == 1000:
                pipeline.execute()
        of_key: Any = redis.memory_usage(result_key(outcome.job_id))
        in_all = (redis.info("memory")["used_memory"] - before) // _RECORDS
        info = redis.info("server")
        version = f"{info.get('server_name', 'redis')} {info['redis_version']}, {redis.info('memory')['mem_allocator']}"
        return version, Size(len(record), of_key, in_all)


@click.command()
def main() -> None:
    """Print the memory of a record, and of all records at some rates of jobs with the default retention."""
    sizes: dict[str, Size] = {}
    for kind in _KINDS:
        version, sizes[kind.name] = measure(kind)
    click.echo(f"{version}; {_RECORDS:,} records of each kind\n")
    click.echo("| outcome | characters | `MEMORY USAGE` of the key | memory per record |\n|---|---|---|---|")
    for name, size in sizes.items():
        click.echo(f"| {name} | {size.characters} | {size.of_key} B | {size.in_all} B |")
    most = max(size.in_all for size in sizes.values())
    click.echo(f"\n| jobs/s | records after a day | memory, at {most} B each |\n|---|---|---|")
    for rate in _RATES:
        records = int(rate * OUTCOMES_KEPT.total_seconds())
        click.echo(f"| {rate} | {records:,} | {records * most / 1e9:.2f} GB |")


if __name__ == "__main__":
    main()
