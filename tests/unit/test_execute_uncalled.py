"""Jobs that the pipeline does not call: expired, revoked, late, unreadable, or of a worker that shuts down."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from streamstop import Outcome, Result
from streamstop._core.constants import DEAD
from streamstop._core.lane_types import AttemptHistory
from streamstop_worker.pipeline.ends import GivenBack
from tests.support.celery_messages import envelope
from tests.support.pipeline import Pipeline


def test_an_expired_command_makes_no_call(bench: Pipeline) -> None:
    outcome = bench.execute(bench.publish(changes={"expires_at": 1.0}))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, bench.requests) == (Result.EXPIRED, [])


def test_a_worker_that_shuts_down_gives_jobs_back_uncalled(bench: Pipeline) -> None:
    delivery = bench.publish()
    bench.slots.drain()
    assert isinstance(bench.execute(delivery), GivenBack)
    assert bench.requests == []
    assert bench.take_of(delivery.taken.lane).taken.job_id == delivery.taken.job_id, (
        "another worker may take it at once"
    )
    bench.slots.send()
    bench.slots.end()


def test_a_job_that_waits_for_its_slot_as_the_worker_shuts_down_goes_back_at_once(bench: Pipeline) -> None:
    delivery = replace(bench.publish(), wait_s=3600.0)

    async def drained_meanwhile() -> Any:
        task = asyncio.create_task(bench.executor.execute(delivery, lambda: None))
        while not bench.slots._waiting:
            await asyncio.sleep(0)
        bench.slots.drain()
        return await task

    assert isinstance(bench.run(drained_meanwhile()), GivenBack)
    bench.slots.end()
    view = bench.lanes.view(delivery.taken.lane)
    assert (view.waiting, view.in_flight, bench.requests) == (1, 0, [])


@pytest.mark.parametrize("clock", ["taken_at", "asked_at"])
def test_a_job_that_comes_to_its_slot_late_goes_back_for_another(
    bench: Pipeline, clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    delivery = bench.publish()
    late: Any = {clock: getattr(delivery, clock) - 60}
    assert isinstance(bench.execute(replace(delivery, **late)), GivenBack)
    view = bench.lanes.view(delivery.taken.lane)
    assert (view.waiting, view.in_flight, bench.requests) == (1, 0, [])


def test_a_revoked_job_ends_as_cancelled_uncalled(bench: Pipeline) -> None:
    delivery = bench.publish()
    bench.revoked.add(delivery.taken.job_id)
    outcome = bench.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, bench.requests, bench.began) == (Result.CANCELLED, [], 0)
    assert bench.recorded(delivery) == outcome


def test_a_job_that_is_revoked_while_it_waits_for_its_slot_is_not_called(bench: Pipeline) -> None:
    delivery = bench.publish()
    asked: list[str] = []

    def is_revoked(job_id: str) -> bool:
        asked.append(job_id)
        return len(asked) > 1

    bench.executor = replace(bench.executor, is_revoked=is_revoked)
    outcome = bench.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, bench.requests) == (Result.CANCELLED, [])


def test_a_message_that_no_worker_can_begin_is_refused_and_kept_as_it_is(bench: Pipeline) -> None:
    lane = bench.publish().taken.lane
    bench.slots.send()
    bench.slots.end()
    fields = envelope(lane, lane.new_job_id())
    fields["headers"]["eta"] = "2999-01-01T00:00:00Z"
    bench.push(lane, json.dumps(fields))
    delivery = bench.take_of(lane)
    outcome = bench.execute(delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, bench.requests) == (Result.REFUSED, [])
    assert "its header eta is not served" in (outcome.message or "")
    assert json.loads(bench.redis.hget(f"{DEAD}.{delivery.taken.job_id}", "message")) == fields


def test_a_job_that_was_lost_with_its_worker_again_and_again_gives_up(bench: Pipeline) -> None:
    delivery = bench.publish()
    lost = replace(
        delivery, taken=replace(delivery.taken, history=AttemptHistory(attempts=2, calls=3, lost_deliveries=5))
    )
    outcome = bench.execute(lost)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.attempts, bench.requests) == (Result.GAVE_UP, 2, [])
    assert "lost with its worker 5 times" in (outcome.message or "")
