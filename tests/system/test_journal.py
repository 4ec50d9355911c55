"""Events and vendors' errors, as the commands show them: real Redis, real worker, vendors that throttle and fail."""

import signal
import subprocess
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from streamstop import Command, EventKind
from streamstop._core.constants import EVENTS
from streamstop._redis.journal import Journal
from streamstop.operations import StopMPUTask
from streamstop_simulator import FaultKind
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.executable import EXECUTABLE, environ, objects, run
from tests.support.polling import eventually
from tests.support.world import ALIYUN, World

OPERATION = "live.StopMPUTask"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def served_world(shared_world: World) -> World:
    """Return the module's world once producers know its accounts."""
    shared_world.await_account(ALIYUN)
    return shared_world


@pytest.fixture
def clean_world(served_world: World) -> Iterator[World]:
    """Return the world without any event, error or fault."""
    served_world.redis.delete(EVENTS, *served_world.redis.scan_iter("streamstop.work.errors.*"))
    yield served_world
    served_world.simulator.clear_faults()


def stop(world: World, *tasks: str) -> list[str]:
    """Stop tasks that run; return the results."""
    operations = [StopMPUTask(app_id="app", task_id=task) for task in tasks]
    world.simulator.start_tasks(ALIYUN, operations)
    jobs = world.client.enqueue_many([Command(operation=operation, account=ALIYUN) for operation in operations])
    outcomes = {outcome.job_id: outcome.result.value for outcome in world.client.outcomes(jobs, TIMEOUT_S)}
    return [outcomes[job.id] for job in jobs]


def lane_events(world: World) -> list[str]:
    """Return the kinds of the events about the lane."""
    return [event.kind for event in world.client.events(account=ALIYUN) if event.operation == OPERATION]


def counts(world: World) -> dict[str, int]:
    return {count.code: count.count for count in world.client.errors(account=ALIYUN)}


@pytest.mark.long
def test_a_vendor_that_throttles_is_an_event_and_each_answer_is_counted(clean_world: World) -> None:
    clean_world.simulator.add_fault(FaultKind.THROTTLE, account=ALIYUN, times=2)
    assert stop(clean_world, "throttled-1", "throttled-2") == ["stopped", "stopped"]
    ((code, count),) = counts(clean_world).items()
    assert (code.startswith("Throttling"), count) == (True, 2)
    assert lane_events(clean_world) == [EventKind.RESTING]
    listed = run(clean_world.server.url, "events", "--account", ALIYUN)
    (line,) = listed.stdout.splitlines()
    assert f"  resting    {ALIYUN} {OPERATION}  {code}: rests " in line


def test_a_vendor_that_fails_and_recovers_is_two_events(clean_world: World) -> None:
    clean_world.simulator.add_fault(FaultKind.ERROR_503, account=ALIYUN, times=100)
    with ThreadPoolExecutor(1) as thread:
        stopping = thread.submit(stop, clean_world, *(f"failed-{number}" for number in range(5)))
        eventually(lambda: lane_events(clean_world) == [EventKind.FAILING], "five faults in a row are an event")
        clean_world.simulator.clear_faults()
        assert stopping.result() == ["stopped"] * 5
    assert counts(clean_world).keys() == {"ServiceUnavailable"}
    assert counts(clean_world)["ServiceUnavailable"] >= 5
    assert lane_events(clean_world) == [EventKind.FAILING, EventKind.RECOVERED]


def test_what_a_vendor_refuses_is_counted_with_its_message_and_request(clean_world: World) -> None:
    message = "User not authorized\x1b[2J to operate"
    clean_world.simulator.add_fault(FaultKind.CODE, account=ALIYUN, code="Forbidden.RAM", message=message, times=3)
    assert stop(clean_world, "refused-1", "refused-2", "refused-3") == ["refused"] * 3
    url = clean_world.server.url
    (printed,) = objects(run(url, "errors", "--json").stdout)
    assert (printed["account"], printed["operation"], printed["code"]) == (ALIYUN, OPERATION, "Forbidden.RAM")
    assert printed["count"] == 3
    table = run(url, "errors", "--since", "1h").stdout
    header, line, newest, total = table.splitlines()
    assert header.split() == ["COUNT", "CODE", "ACCOUNT", "OPERATION", "LAST", "SEEN"]
    assert line.split()[:4] == ["3", "Forbidden.RAM", ALIYUN, OPERATION]
    assert newest.strip().startswith("User not authorized")
    assert newest.endswith(f"(request {printed['request_id']})")
    assert total == "3 errors"
    assert "\x1b" not in table
    assert lane_events(clean_world) == []


@pytest.mark.long
def test_a_code_that_no_table_lists_is_told_once(clean_world: World) -> None:
    clean_world.simulator.add_fault(FaultKind.CODE, account=ALIYUN, code="Brand.New", times=3)
    assert stop(clean_world, "unknown-1", "unknown-2", "unknown-3") == ["stopped"] * 3
    assert counts(clean_world) == {"Brand.New": 3}
    events = objects(run(clean_world.server.url, "events", "--since", "10m", "--account", ALIYUN, "--json").stdout)
    assert {(event["kind"], event["operation"]) for event in events} == {("unknown_code", OPERATION)}
    assert events[0]["text"].startswith("Brand.New: ")
    spans = list(clean_world.redis.scan_iter("streamstop.work.errors.*"))
    assert len(events) == len(spans), "once in five minutes: the test may begin in one span and end in the next"


@pytest.mark.long
def test_good_answers_are_neither_events_nor_errors(clean_world: World) -> None:
    assert stop(clean_world, "good") == ["stopped"]
    assert (lane_events(clean_world), counts(clean_world)) == ([], {})
    listed = run(clean_world.server.url, "events", "--account", ALIYUN)
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "no events" in listed.stderr
    assert run(clean_world.server.url, "errors", "--account", ALIYUN).stdout == "0 errors\n"


@contextmanager
def following(url: str, *options: str) -> Iterator[tuple[Any, "Queue[str]"]]:
    """Run ``events --follow``; yield its process, and the lines that it prints."""
    lines = Queue[str]()
    with subprocess.Popen(
        [EXECUTABLE, "events", "--follow", *options],
        env=environ(url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stdout = process.stdout
        assert stdout is not None
        reader = Thread(target=lambda: deque(map(lines.put, stdout)), daemon=True)
        reader.start()
        try:
            yield process, lines
        finally:
            process.kill()
            reader.join()


def await_follower(redis: Any) -> None:
    eventually(lambda: dict(redis.pubsub_numsub(EVENTS)).get(EVENTS.encode()), "somebody follows the events")


@pytest.mark.long
def test_events_are_followed_as_they_happen_until_ctrl_c(clean_world: World) -> None:
    with following(clean_world.server.url, "--account", ALIYUN, "--json") as (process, lines):
        await_follower(clean_world.redis)
        clean_world.simulator.add_fault(FaultKind.CODE, account=ALIYUN, code="Brand.New", times=1)
        assert stop(clean_world, "followed") == ["stopped"]
        (event,) = objects(lines.get(timeout=TIMEOUT_S))
        assert (event["kind"], event["account"]) == ("unknown_code", ALIYUN)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
        assert process.stderr.read() == "", "Ctrl-C is how it ends"


@pytest.mark.long
def test_following_goes_on_after_a_restart_of_redis(tmp_path: Path) -> None:
    kept = ("--appendonly", "yes")
    with redis_server(*kept, folder=tmp_path) as server, server.client() as redis:
        Journal(redis).add(EventKind.PAUSED, "before", account="live-cn", by="ops@host")
        with following(server.url, "--since", "1h") as (process, lines):
            assert lines.get(timeout=TIMEOUT_S).endswith("  paused     live-cn  before  (by ops@host)\n")
            await_follower(redis)
            server.process.kill()
            server.process.wait()
            told = process.stderr.readline()
            assert "trying again until Ctrl-C" in told
            with redis_server(*kept, folder=tmp_path, port=server.port) as again, again.client() as restarted:
                Journal(restarted).add(EventKind.RESUMED, "after", account="live-cn", by="ops@host")
                assert lines.get(timeout=TIMEOUT_S).endswith("  resumed    live-cn  after  (by ops@host)\n")
                await_follower(restarted)
                process.send_signal(signal.SIGINT)
                assert process.wait(TIMEOUT_S) == 130
