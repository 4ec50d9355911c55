"""Bugs: jobs whose handling meets an error that nobody expected, or a key of another type that Redis fails over."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from streamstop import Command, DeadLetter, Outcome, Result
from streamstop._core.constants import DEAD
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.progress import ShutdownStatus
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.rooms import CONTROL, Rooms
from streamstop._redis.shutdown_views import ShutdownViews
from streamstop._wire.messages import celery_message
from streamstop_worker.pipeline.bugs import EVENT
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, GivenBack
from tests.support.pipeline import STOP, Pipeline, fault

FOREIGN = "of another program"


def letters(bench: Pipeline) -> list[DeadLetter]:
    return list(DeadLetterStore(bench.redis, bench.lanes).letters())


def carried(bench: Pipeline, delivery: Delivery) -> tuple[End, dict[str, Any]]:
    """Carry a job that meets a bug; return its end, and the one line that was logged of the bug."""
    with capture_logs() as lines:
        end = bench.execute(delivery)
    (line,) = [dict(line) for line in lines if line["event"] == EVENT]
    assert (line["log_level"], line["job_id"]) == ("error", delivery.taken.job_id)
    assert isinstance(line["exc_info"], Exception)
    return end, line


def member(bench: Pipeline) -> tuple[str, Delivery]:
    """Stop a room of one task; return the shutdown, and its job."""
    rooms, command = Rooms(bench.redis, bench.lanes), Command(operation=STOP, account="live-cn")
    shutdown = rooms.open("r", [command], now=datetime.now(UTC), verify=False, callback=None)
    for _ in bench.executor.shutdowns.fan_out(shutdown):
        pass
    bench.redis.delete(CONTROL.queue)  # the fan-out is made
    return shutdown, bench.take_of(command.lane)


def fails(_job_id: str) -> bool:
    raise RuntimeError("with a text that might quote anything")


def test_a_bug_before_the_call_returns_the_job_once_and_then_makes_it_a_dead_letter(bench: Pipeline) -> None:
    delivery = bench.publish()
    bench.executor = replace(bench.executor, is_revoked=fails)
    end, line = carried(bench, delivery)
    assert isinstance(end, GivenBack)
    assert (line["became"], line["bug"], line["bugs"]) == ("returned to its lane", "RuntimeError", 1)
    again = bench.take_of(delivery.taken.lane)
    assert again.taken.history == AttemptHistory(bugs=1)
    outcome, line = carried(bench, again)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, outcome.message) == (Result.GAVE_UP, 0, f"{EVENT}: RuntimeError")
    assert (line["became"], line["bugs"]) == ("made a dead letter", 2)
    assert bench.recorded(delivery) == outcome
    (letter,) = letters(bench)
    assert letter.outcome == outcome
    assert (letter.command is not None, bench.requests) == (True, [])
    assert bench.lanes.view(delivery.taken.lane).in_flight == 0


def test_a_job_that_meets_a_bug_once_is_called_by_the_next_worker(bench: Pipeline) -> None:
    delivery, healthy = bench.publish(), bench.executor
    bench.executor = replace(healthy, is_revoked=fails)
    carried(bench, delivery)
    bench.executor = healthy
    outcome = bench.execute(bench.take_of(delivery.taken.lane))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, letters(bench)) == (Result.STOPPED, 1, [])


def test_a_job_that_cannot_be_deferred_is_called_twice_at_most(bench: Pipeline) -> None:
    delivery = bench.publish()
    bench.redis.set(delivery.taken.lane.due, FOREIGN)
    bench.answers = [fault("InternalError"), fault("InternalError")]
    end, line = carried(bench, delivery)
    assert (isinstance(end, GivenBack), line["bug"].startswith("ResponseError WRONGTYPE")) == (True, True)
    again = bench.take_of(delivery.taken.lane)
    assert again.taken.history == AttemptHistory(attempts=1, calls=1, bugs=1)
    outcome, _line = carried(bench, again)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls, len(bench.requests)) == (Result.GAVE_UP, 2, 2)
    assert FOREIGN not in (outcome.message or "")
    assert [letter.outcome for letter in letters(bench)] == [outcome]


def test_a_call_that_met_a_bug_may_have_stopped_what_the_vendor_then_does_not_know(bench: Pipeline) -> None:
    delivery, healthy = bench.publish(), bench.executor

    class Broken:
        async def send(self, _request: object) -> None:
            raise RuntimeError

    bench.executor = replace(healthy, transport=Broken())  # type: ignore[arg-type]
    carried(bench, delivery)
    bench.executor = healthy
    again = bench.take_of(delivery.taken.lane)
    assert again.taken.history == AttemptHistory(calls=1, in_doubt=True, bugs=1)
    bench.answers = [fault("CodeTaskNotExist", 404)]
    outcome = bench.execute(again)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.calls) == (Result.ALREADY_STOPPED, 2)


@pytest.mark.parametrize("name", ["shutdown.{}:outcomes", "shutdown.{}:lanes", "room.r:tasks", "room.r:state"])
def test_an_end_that_its_shutdown_cannot_count_is_recorded_and_its_letter_counts_it_later(
    bench: Pipeline, name: str
) -> None:
    shutdown, delivery = member(bench)
    key = f"streamstop.{name.format(shutdown)}"
    kept = bench.redis.dump(key)
    bench.redis.set(key, FOREIGN)
    outcome, line = carried(bench, delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome, len(bench.requests)) == (Result.STOPPED, bench.recorded(delivery), 1)
    assert "shutdown could not count it" in line["became"]
    assert bench.lanes.view(delivery.taken.lane).in_flight == 0
    (letter,) = letters(bench)
    assert letter.result is Result.GAVE_UP
    assert letter.reason.startswith(f"{EVENT}: ResponseError WRONGTYPE")
    assert "it ended stopped" in letter.reason
    bench.redis.delete(key)
    if kept is not None:
        bench.redis.restore(key, 0, kept)
    DeadLetterStore(bench.redis, bench.lanes).requeue(letter.id)
    bench.execute(bench.take_of(delivery.taken.lane))
    progress = ShutdownViews(bench.redis, bench.lanes).progress(shutdown)
    assert progress is not None
    assert (progress.ended, progress.status) == (1, ShutdownStatus.DONE)
    assert bench.redis.hget(f"streamstop.shutdown.{shutdown}", "attention") in {None, b"0"}
    assert len(bench.requests) == 2


def test_an_end_whose_dead_letter_redis_fails_over_is_recorded_without_it(bench: Pipeline) -> None:
    delivery = bench.publish()
    bench.redis.set(DEAD, FOREIGN)
    bench.answers = [fault("Forbidden.RAM", 403)]
    outcome, line = carried(bench, delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome, outcome.result) == (bench.recorded(delivery), Result.REFUSED)
    assert (line["became"], len(bench.requests)) == ("its outcome is recorded, and nothing else", 1)
    assert bench.lanes.view(delivery.taken.lane).in_flight == 0


def test_a_job_of_a_lane_whose_keys_are_broken_is_left_to_its_lease_and_others_go_on(bench: Pipeline) -> None:
    delivery = bench.publish()
    bench.redis.set(delivery.taken.lane.jobs, FOREIGN)
    end, line = carried(bench, delivery)
    assert isinstance(end, GivenBack)
    assert line["became"] == "left to its lease: the keys of its lane are broken"
    take = bench.take(1)
    assert take == [], "a lane whose keys are broken gives no job, so the vendor is not called again"
    bench.redis.delete(delivery.taken.lane.jobs)


@pytest.mark.parametrize("bad", [lambda: ResponseError("Error running script"), lambda: FileNotFoundError("x.lua")])
def test_an_exception_that_is_not_an_unreachable_redis_is_a_bug(bench: Pipeline, bad: Callable[[], Exception]) -> None:
    delivery, report = bench.publish(), bench.executor.report
    errors = [bad()]

    async def broken_once(one: Any) -> Any:
        if errors:
            raise errors.pop()
        return await report(one)

    bench.executor = replace(bench.executor, report=broken_once)
    outcome, _line = carried(bench, delivery)
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome, len(bench.requests)) == (Result.STOPPED, bench.recorded(delivery), 1)


def test_a_bug_in_a_job_that_another_worker_owns_changes_nothing(bench: Pipeline) -> None:
    delivery = bench.publish()

    def lost(_request: httpx.Request) -> httpx.Response:
        bench.lapse(delivery)
        raise RuntimeError

    bench.answers = [lost]
    end, line = carried(bench, delivery)
    assert (isinstance(end, GivenBack), line["became"]) == (True, "taken by another worker")
    again = bench.take_of(delivery.taken.lane)
    assert again.taken.history == AttemptHistory(lost_deliveries=1)
    assert isinstance(bench.execute(again), Outcome)


def test_a_message_of_a_bug_that_no_worker_could_read_is_quoted_in_its_letter(bench: Pipeline) -> None:
    lane = bench.publish().taken.lane
    bench.slots.send()
    bench.slots.end()
    message = celery_message(lane.new_job_id(), lane, {"v": 1})
    bench.push(lane, message)
    bench.executor = replace(bench.executor, is_revoked=fails)
    for _ in range(2):
        carried(bench, bench.take_of(lane))
    (letter,) = letters(bench)
    assert json.loads(letter.message or "") == json.loads(message)
