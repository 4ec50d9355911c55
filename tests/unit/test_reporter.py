"""The reporter: every report reaches Redis once, and every job gets Redis' answer."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis, FakeServer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, OutOfMemoryError, ResponseError

from streamstop._core.constants import SCHEDULE
from streamstop._core.lane import Lane, result_key
from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop._redis.schedule import Reported, Schedule
from streamstop._wire.messages import celery_message
from streamstop._wire.reports import Ended, Released, Report, Retried
from streamstop._wire.results import step_record
from streamstop_worker.pipeline import reporter
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.reporter import Reporter
from tests.support.pipeline import Work, work

LANES = [Lane("live-cn", "live.StopMPUTask"), Lane("live-cn", "rtc.StopMPUTask")]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(reporter, "RETRY_DELAYS_S", (0.0, 0.0))
    with FakeRedis(server=FakeServer()) as redis, work(redis, tmp_path) as bench:
        yield bench


def job(bench: Work, lane: Lane = LANES[0]) -> Delivery:
    bench.redis.lpush(lane.queue, celery_message(lane.new_job_id(), lane, {}))
    bench.redis.zadd(SCHEDULE, {lane.name: 0})
    (delivery,) = bench.take(1)
    return delivery


def ended(delivery: Delivery) -> Ended:
    taken = delivery.taken
    record = step_record(taken.job_id, "x", datetime.now(UTC))
    return Ended(job=taken, call=LastCall.WELL, record=record, kept=timedelta(days=1))


class Unsteady(Schedule):
    """A schedule whose Redis raises the errors that a test sets, before or after it accepted a report."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self.before: list[Exception | None] = []
        self.after: list[Exception | None] = []
        self.batches: list[int] = []

    def report(self, reports: Sequence[Report], *, wake: bool = False) -> Reported:
        self.batches.append(len(reports))
        if self.before and (error := self.before.pop(0)):
            raise error
        reported = super().report(reports, wake=wake)
        if self.after and (error := self.after.pop(0)):
            raise error
        return reported


def unsteady(bench: Work) -> tuple[Unsteady, Reporter]:
    schedule = Unsteady(bench.redis)

    async def make() -> Reporter:
        return Reporter(schedule, bench.lanes, on_due=bench.due.append, under_way=lambda: 0, draining=lambda: False)

    return schedule, bench.run(make())


def report_all(bench: Work, by: Reporter, reports: Sequence[Report]) -> list[Any]:
    async def gather() -> list[Any]:
        return await asyncio.gather(*map(by.report, reports), return_exceptions=True)

    return bench.run(gather())


def test_many_reports_each_get_their_own_answer(bench: Work) -> None:
    jobs = [job(bench, lane) for lane in LANES[:1] + LANES[1:] * 20]
    reports = [ended(one) for one in jobs]
    answers = report_all(bench, bench.reporter, [*reports, reports[0]])
    assert answers == [timedelta(0)] * 22, "the last is the first once more, and its record says so"
    assert all(bench.redis.exists(result_key(one.taken.job_id)) for one in jobs)
    assert all(bench.lanes.view(lane).in_flight == 0 for lane in LANES)


def test_a_report_of_a_job_that_another_worker_owns_says_so(bench: Work) -> None:
    delivery = job(bench)
    bench.redis.hset(delivery.taken.lane.jobs, f"{delivery.taken.job_id}:owner", "another")
    assert report_all(bench, bench.reporter, [ended(delivery)]) == [None]
    assert not bench.redis.exists(result_key(delivery.taken.job_id))


@pytest.mark.parametrize("error", [RedisConnectionError(), OutOfMemoryError(), ConnectionResetError()])
def test_a_report_that_redis_did_not_take_is_made_again(bench: Work, error: Exception) -> None:
    schedule, unsteady_reporter = unsteady(bench)
    schedule.before = [error, error]
    assert report_all(bench, unsteady_reporter, [ended(job(bench))]) == [timedelta(0)]
    assert schedule.batches == [1, 1, 1]


@pytest.mark.parametrize("error", [ResponseError("Error running script"), DataError(), FileNotFoundError()])
def test_a_report_that_meets_a_bug_is_not_made_again(bench: Work, error: Exception) -> None:
    schedule, unsteady_reporter = unsteady(bench)
    schedule.before = [error]
    assert report_all(bench, unsteady_reporter, [ended(job(bench))]) == [error]
    assert schedule.batches == [1]


def test_an_end_whose_answer_was_lost_is_believed_by_its_record(bench: Work) -> None:
    schedule, unsteady_reporter = unsteady(bench)
    schedule.after = [RedisConnectionError()]
    assert report_all(bench, unsteady_reporter, [ended(job(bench))]) == [timedelta(0)]


def test_a_report_that_redis_never_takes_fails_in_the_end_and_the_next_one_is_made(bench: Work) -> None:
    schedule, unsteady_reporter = unsteady(bench)
    schedule.before = [RedisConnectionError()] * 3
    lost, well = job(bench), job(bench, LANES[1])
    (answer,) = report_all(bench, unsteady_reporter, [ended(lost)])
    assert isinstance(answer, RedisConnectionError)
    assert report_all(bench, unsteady_reporter, [ended(well)]) == [timedelta(0)]


@pytest.mark.parametrize("kind", [ResponseError, TypeError])
def test_each_job_of_a_batch_that_meets_a_bug_is_reported_by_itself(bench: Work, kind: type[Exception]) -> None:
    schedule, unsteady_reporter = unsteady(bench)
    jobs = [job(bench, lane) for lane in LANES]
    schedule.before = [kind("a fault of one of them"), kind("its own"), None]

    async def together() -> list[Any]:
        waiting = [reporter._Pending(ended(one), asyncio.get_running_loop().create_future()) for one in jobs]
        await asyncio.to_thread(unsteady_reporter._send_batch, waiting)
        return await asyncio.gather(*(one.answer for one in waiting), return_exceptions=True)

    broken, well = bench.run(together())
    assert isinstance(broken, kind)
    assert (well, schedule.batches) == (timedelta(0), [2, 1, 1])


def test_a_key_of_another_type_fails_the_job_that_it_is_of_and_no_other(bench: Work) -> None:
    jobs = [job(bench, lane) for lane in LANES]
    bench.redis.delete(LANES[0].due)
    bench.redis.set(LANES[0].due, "of another type")
    retried = Retried(
        job=jobs[0].taken,
        call=LastCall.NONE,
        delay=timedelta(seconds=1),
        history=AttemptHistory(),
        record='{"status": "RETRY"}',
        kept=timedelta(days=1),
    )
    broken, well = report_all(bench, bench.reporter, [retried, ended(jobs[1])])
    assert isinstance(broken, ResponseError)
    assert well == timedelta(0)
    assert bench.lanes.record_of(jobs[1].taken.job_id) is not None


def test_a_lost_answer_that_cannot_be_looked_up_leaves_only_that_job_in_doubt(
    bench: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, well = job(bench), job(bench, LANES[1])
    bench.redis.hset(gone.taken.lane.jobs, f"{gone.taken.job_id}:owner", "another")

    def away(_job_id: str) -> bytes:
        raise RedisConnectionError

    monkeypatch.setattr(bench.lanes, "record_of", away)
    doubtful, certain = report_all(bench, bench.reporter, [ended(gone), ended(well)])
    assert isinstance(doubtful, RedisConnectionError)
    assert certain == timedelta(0)


def test_a_lane_that_can_give_jobs_again_is_told_of(bench: Work) -> None:
    delivery = job(bench)
    assert report_all(bench, bench.reporter, [Released(job=delivery.taken)]) == [timedelta(0)]
    assert len(bench.due) == 1


def test_reports_made_before_the_reporter_closes_are_sent(bench: Work) -> None:
    delivery = job(bench)

    async def report_and_close() -> Any:
        report = asyncio.create_task(bench.reporter.report(ended(delivery)))
        await asyncio.sleep(0)
        await asyncio.to_thread(bench.reporter.close)
        return await report

    assert bench.run(report_and_close()) == timedelta(0)
