"""Keys of another type as real workers meet them: no vendor is called more than twice, and other jobs go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command, DeadLetter, InternalError, Matching, Result, ShutdownStatus
from streamstop._redis.rooms import CONTROL
from streamstop.operations import StopPublishCdnStream, StopStreamIngest
from streamstop_simulator import FaultKind
from tests.support.polling import eventually
from tests.support.world import TENCENT, World, world

pytestmark = pytest.mark.long

TIMEOUT = 60
EVENT = "this is a bug in streamstop"
FOREIGN = "of another program"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("types")) as made:
        made.await_account(TENCENT)
        yield made
        assert [one.process.poll() for one in made.workers] == [None]


def ingest(name: str) -> Command:
    return Command(operation=StopStreamIngest(sdk_app_id=1, task_id=name), account=TENCENT)


def relay(name: str) -> Command:
    return Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id=name), account=TENCENT)


def calls_of(made: World, name: str) -> int:
    return sum(call.params["TaskId"] == name for call in made.simulator.calls())


def dead_letter_record(made: World, **matching: Any) -> DeadLetter:
    def found() -> DeadLetter | None:
        return next(iter(made.client.dead_letters.letters(Matching(**matching))), None)

    letter = eventually(found, "a dead letter")
    assert letter is not None
    return letter


def bugs(made: World) -> list[dict[str, Any]]:
    lines = [line for line in made.workers[0].lines() if line["event"] == EVENT]
    assert all("Traceback" in line["exception"] and "WRONGTYPE" in line["bug"] for line in lines)
    return lines


def await_ends(made: World, before: int) -> list[str]:
    """Wait for two more bugs than `before`, and return what the worker says of their jobs."""
    eventually(lambda: bugs(made)[before + 1 :], "both bugs logged")
    return [line["became"] for line in bugs(made)[before:]]


def goes_on(made: World, command: Command) -> None:
    """Check that the worker serves another lane."""
    made.simulator.start_tasks(TENCENT, [command.operation])
    (job,) = made.client.enqueue_many([command])
    assert job.outcome(TIMEOUT).result is Result.STOPPED


def test_a_job_that_cannot_be_deferred_is_called_twice_and_is_a_dead_letter(made: World) -> None:
    goes_on(made, ingest("before the undeferred"))  # of a lane that is new, Redis fails over the key at the first look
    command, before = ingest("undeferred"), len(bugs(made))
    made.simulator.start_tasks(TENCENT, [command.operation])
    made.simulator.add_fault(FaultKind.ERROR_500, account=TENCENT, task=command.operation.params, times=9)
    made.redis.set(command.lane.due, FOREIGN, ex=3600)
    try:
        (job,) = made.client.enqueue_many([command])
        outcome = job.outcome(TIMEOUT)
        assert outcome.message is not None
        assert outcome.message.startswith(f"{EVENT}: ResponseError WRONGTYPE")
        assert outcome.result is Result.GAVE_UP
        assert dead_letter_record(made, account=TENCENT, operation=command.lane.operation).outcome == outcome
        assert await_ends(made, before) == ["returned to its lane", "made a dead letter"]
        goes_on(made, relay("beside the undeferred"))
        assert calls_of(made, "undeferred") == 2
    finally:
        made.redis.delete(command.lane.due)
        made.simulator.clear_faults()
        made.client.dead_letters.drop(job.id)


def test_a_stop_that_its_shutdown_cannot_count_is_recorded_and_counted_once_its_letter_is_requeued(
    made: World,
) -> None:
    command, before = relay("uncounted"), len(bugs(made))
    made.simulator.start_tasks(TENCENT, [command.operation])
    made.client.pause(TENCENT)
    shutdown = made.client.stop_room("uncounted", [command])
    key = f"streamstop.shutdown.{shutdown.id}:outcomes"
    made.redis.set(key, FOREIGN, ex=3600)
    assert made.client.resume(TENCENT)
    letter = dead_letter_record(made, account=TENCENT)
    assert f"{EVENT}: ResponseError WRONGTYPE" in letter.reason
    assert "it ended stopped, and its shutdown could not count it" in letter.reason
    assert made.client.job(letter.id).outcome(TIMEOUT).result is Result.STOPPED
    (line,) = eventually(lambda: bugs(made)[before:], "the bug logged")
    assert line["became"] == "its outcome is recorded; its dead letter says that its shutdown could not count it"
    assert calls_of(made, "uncounted") == 1
    goes_on(made, relay("beside the uncounted"))
    with pytest.raises(InternalError, match="WRONGTYPE"):
        list(shutdown.outcomes())
    made.redis.delete(key)
    made.client.dead_letters.requeue(letter.id)
    assert shutdown.wait(TIMEOUT).status is ShutdownStatus.DONE
    assert calls_of(made, "uncounted") == 2


def test_a_step_of_a_shutdown_that_redis_fails_over_is_a_dead_letter_and_goes_on_once_that_is_requeued(
    tmp_path: Path,
) -> None:
    command = relay("fanned out")
    with world(tmp_path, workers=0) as made:
        made.simulator.start_tasks(TENCENT, [command.operation])
        shutdown = made.client.stop_room("r", [command])
        key = f"streamstop.shutdown.{shutdown.id}:jobs"
        made.redis.set(key, FOREIGN, ex=3600)
        made.start_worker()
        letter = dead_letter_record(made, account=CONTROL.account)
        assert letter.outcome is not None
        assert letter.outcome.result is Result.GAVE_UP
        assert await_ends(made, 0) == ["returned to its lane", "made a dead letter"]
        assert calls_of(made, "fanned out") == 0
        made.redis.delete(key)
        made.client.dead_letters.requeue(letter.id)
        assert shutdown.wait(TIMEOUT).status is ShutdownStatus.DONE
        assert calls_of(made, "fanned out") == 1


def test_a_lane_whose_jobs_are_another_type_is_told_as_broken_and_others_go_on(made: World) -> None:
    broken = ingest("in a broken lane")
    made.simulator.start_tasks(TENCENT, [broken.operation])
    made.redis.set(broken.lane.jobs, FOREIGN, ex=3600)
    try:
        (job,) = made.client.enqueue_many([broken])
        made.workers[0].await_line("a lane's keys are broken")
        goes_on(made, relay("beside a broken lane"))
        assert calls_of(made, "in a broken lane") == 0
    finally:
        made.redis.delete(broken.lane.jobs)
    assert job.outcome(TIMEOUT).result is Result.STOPPED
    assert calls_of(made, "in a broken lane") == 1
