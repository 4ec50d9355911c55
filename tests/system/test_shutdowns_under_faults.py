"""Shutdowns under faults: killed workers, racing producers, tasks that do not stop, a Redis that restarts."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command, Progress, Result, ShutdownStatus, callbacks
from streamstop.operations import StopStreamIngest
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import eventually
from tests.support.room_shutdowns import (
    ENVIRON,
    LIMITS,
    SECRET,
    TIMEOUT,
    await_exact_counts,
    await_jobs,
    ingest_stops,
    jobs_of,
    other_keys_without_ttl,
    outcome_with,
    output_of,
    paced_calls,
    paced_stops,
    place_of_last,
    release_producers,
    running_tasks,
    seconds_left,
    start_producer,
    start_tasks,
)
from tests.support.world import TENCENT, World, world

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def shutdown_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world with two workers, which tests kill."""
    with world(tmp_path_factory.mktemp("shutdowns"), workers=2, limits=LIMITS, environ=ENVIRON) as made:
        yield made


@pytest.fixture(autouse=True)
def _two_workers_at_each_start(shutdown_world: World) -> Iterator[None]:
    yield
    while sum(one.process.poll() is None for one in shutdown_world.workers) < 2:
        shutdown_world.start_worker()


def test_a_worker_killed_in_the_fan_out_leaves_no_task_out_and_none_stopped_twice(shutdown_world: World) -> None:
    rooms = {}
    for room, reached in (("first", 1), ("middle", 800), ("last", 1500)):
        commands = start_tasks(shutdown_world, ingest_stops(room, 1500))
        shutdown_world.client.register_many(room, commands)
        rooms[room] = shutdown = shutdown_world.client.stop_room(room)
        eventually(lambda s=shutdown, n=reached: jobs_of(shutdown_world, s) >= n, f"{reached} jobs", interval=0.002)  # type: ignore[misc]
        for one in shutdown_world.workers:
            one.kill()
        shutdown_world.start_worker()
    shutdown_world.start_worker()
    for room, shutdown in rooms.items():
        progress = await_exact_counts(shutdown, 1500)
        assert set(progress.results) <= {Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND}
        assert running_tasks(shutdown_world, room) == []


def test_workers_killed_during_the_stops_change_no_count(shutdown_world: World) -> None:
    commands = start_tasks(shutdown_world, paced_stops("stops", 300))
    shutdown_world.client.register_many("stops", commands)
    shutdown = shutdown_world.client.stop_room("stops")
    for reached in (40, 120):
        next(progress for progress in shutdown.watch(TIMEOUT) if progress.ended >= reached)
        for one in shutdown_world.workers:
            one.kill()
        shutdown_world.start_worker()
    progress = await_exact_counts(shutdown, 300)
    # A stop whose worker was killed with the answer is called again; this vendor no longer knows the task.
    assert set(progress.results) <= {Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND}, list(
        shutdown.outcomes()
    )
    assert running_tasks(shutdown_world, "stops") == []


def test_two_processes_that_stop_a_room_at_once_have_one_shutdown_and_each_task_is_stopped_once(
    shutdown_world: World,
) -> None:
    commands = start_tasks(shutdown_world, ingest_stops("twice", 300))
    shutdown_world.client.register_many("twice", commands)
    since = len(shutdown_world.simulator.calls())
    producers = [start_producer(shutdown_world, "print(client.stop_room('twice').id)") for _ in range(2)]
    with shutdown_world.paused():  # so that the shutdown is open until both have stopped the room
        release_producers(shutdown_world, len(producers))
        ids = {shutdown_id for producer in producers for shutdown_id in output_of(producer)}
    assert len(ids) == 1
    progress = await_exact_counts(shutdown_world.client.shutdown(*ids), 300)
    assert progress.results == {Result.STOPPED: 300}
    called = Counter(str(call.params["TaskId"]) for call in shutdown_world.simulator.calls(since=since))
    assert set(called.values()) == {1}


def test_no_task_registered_during_a_shutdown_is_left_running(shutdown_world: World) -> None:
    script = """
first, number = int(sys.argv[3]), int(sys.argv[4])
for n in range(first, first + number):
    stop = StopStreamIngest(sdk_app_id=1, task_id=f"race-{n}")
    simulator.start_tasks(sys.argv[5], [stop])
    client.register("race", stop, account=sys.argv[5])
"""
    producers = [start_producer(shutdown_world, script, first, 50, TENCENT) for first in (0, 50)]

    def register(n: int) -> None:
        (command,) = start_tasks(shutdown_world, [paced_stops("race", 200)[n]])
        shutdown_world.client.register("race", command.operation, account=command.account)

    with ThreadPoolExecutor(4) as threads:
        release_producers(shutdown_world, len(producers))
        registering = [threads.submit(register, n) for n in range(100, 150)]
        eventually(lambda: len(shutdown_world.client.room("race").tasks) >= 60, "in the middle")
        shutdown = shutdown_world.client.stop_room("race")
        registering += [threads.submit(register, n) for n in range(150, 200)]  # these join it, whoever was faster
        for one in registering:
            one.result()
        for producer in producers:
            output_of(producer)
    eventually(lambda: shutdown.progress().ended == 200, "everything stopped")
    progress = await_exact_counts(shutdown, 200)
    assert progress.results == {Result.STOPPED: 200}
    assert running_tasks(shutdown_world, "race") == []


def test_a_small_room_and_a_single_stop_go_ahead_of_a_big_room_whose_tail_still_moves(shutdown_world: World) -> None:
    running = [one for one in shutdown_world.workers if one.process.poll() is None]
    for one in running[1:]:
        assert one.stop() == 0
    # One worker calls jobs in the order in which it takes them. All wait before it takes the first.
    began = len(paced_calls(shutdown_world))
    with shutdown_world.paused():
        rooms = {"big": 600, "small": 5, **{f"crowd{n}": 20 for n in range(8)}}
        shutdowns = {}
        for room, size in rooms.items():
            commands = start_tasks(shutdown_world, paced_stops(room, size))
            shutdowns[room] = shutdown_world.client.stop_room(room, commands)
            await_jobs(shutdown_world, shutdowns[room], size)
        (single,) = shutdown_world.client.enqueue_many(start_tasks(shutdown_world, paced_stops("single", 1)))
    for room, size in rooms.items():
        assert await_exact_counts(shutdowns[room], size).results == {Result.STOPPED: size}
    assert single.outcome(TIMEOUT).ok

    made = paced_calls(shutdown_world)[began:]
    assert place_of_last(made, "single") <= 10, "a single stop goes before every room"
    assert place_of_last(made, "small") <= 60, "the small room waits for the first jobs of the big one alone"
    ids = [str(call.params["TaskId"]) for call in made]
    of_crowd = [place for place, task_id in enumerate(ids) if task_id.startswith("crowd")]
    tail = [task_id for task_id in ids[of_crowd[0] : of_crowd[-1]] if task_id.startswith("big")]
    assert len(tail) >= len(of_crowd) // 30, "the big room's tail moves"
    assert len(tail) <= len(of_crowd), "and the small ones go before it"


def test_a_task_that_runs_on_is_stopped_twice_and_then_needs_a_person(
    shutdown_world: World,
) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="stubborn-1")
    shutdown_world.simulator.start_tasks(TENCENT, [stop], ignores_stops=True)
    commands = start_tasks(
        shutdown_world, [Command(operation=StopStreamIngest(sdk_app_id=1, task_id="tame-1"), account=TENCENT)]
    )
    commands.append(Command(operation=stop, account=TENCENT))
    since = len(shutdown_world.simulator.calls())
    shutdown = shutdown_world.client.stop_room("stubborn", commands, verify=True)
    progress = await_exact_counts(shutdown, 2)
    assert progress.status is ShutdownStatus.NEEDS_ATTENTION
    assert progress.results == {Result.NOT_VERIFIED: 1, Result.VERIFIED: 1}
    calls = [call for call in shutdown_world.simulator.calls(since=since) if call.params["TaskId"] == "stubborn-1"]
    made = [operation for operation, _ in groupby(call.operation for call in calls)]
    assert made == ["trtc.StopStreamIngest", "trtc.DescribeStreamIngest"] * 2, "asked after each, in a lane of its own"
    counts = Counter(call.operation for call in calls)
    assert counts["trtc.StopStreamIngest"] == 2
    assert counts["trtc.DescribeStreamIngest"] > 2, "asked again"
    outcome = outcome_with(shutdown, Result.NOT_VERIFIED)
    assert outcome.message == "the vendor acknowledged two stops, and the task runs on 5 s later"
    assert outcome.status is not None
    assert not outcome.status.over
    assert len(shutdown_world.client.room("stubborn").tasks) == 0, "what was passed was never registered"


def test_a_job_of_a_shutdown_that_its_producer_cancels_counts_as_cancelled(shutdown_world: World) -> None:
    commands = start_tasks(shutdown_world, paced_stops("taken", 150))
    with shutdown_world.paused():
        shutdown = shutdown_world.client.stop_room("taken", commands)
        await_jobs(shutdown_world, shutdown, 150)
        job_ids: Any = shutdown_world.redis.hgetall(f"streamstop.shutdown.{shutdown.id}:jobs")
        (last,) = (job_id.decode() for member, job_id in job_ids.items() if b'"taken-149"' in member)
        assert shutdown_world.client.job(last).cancel().result is Result.CANCELLED
    progress = await_exact_counts(shutdown, 150)
    assert progress.status is ShutdownStatus.DONE
    assert progress.results == {Result.STOPPED: 149, Result.CANCELLED: 1}
    assert running_tasks(shutdown_world, "taken") == ["taken-149"]


def test_a_callback_to_a_url_is_signed_and_made_again_until_it_is_taken(shutdown_world: World) -> None:
    requests: list[bytes] = []

    def receive(connection: Connection) -> None:
        while True:
            requests.append(connection.request())
            connection.answer(b"", status=b"500 Oh" if len(requests) == 1 else b"204 No Content")

    with LoopbackServer(receive) as server:
        shutdown = shutdown_world.client.stop_room(
            "told", start_tasks(shutdown_world, ingest_stops("told", 4)), callback=f"{server.origin}/hook?room=told"
        )
        progress = await_exact_counts(shutdown, 4)
        eventually(lambda: len(requests) >= 2, "told twice")
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        assert line == "POST /hook?room=told HTTP/1.1"
        assert headers["content-type"] == "application/json"
        assert callbacks.verify(SECRET, headers[callbacks.HEADER], body)
        assert not callbacks.verify("other", headers[callbacks.HEADER], body)
        got = Progress.model_validate_json(body)
        assert got.model_dump(exclude={"lanes"}) == progress.model_dump(exclude={"lanes"})
        assert [(lane.operation, lane.total, lane.ended) for lane in got.lanes] == [
            (lane.operation, lane.total, lane.ended) for lane in progress.lanes
        ]


@pytest.mark.parametrize(("options", "queue"), [({"queue": "service"}, "service"), ({}, "celery")])
def test_a_callback_can_be_a_celery_signature_of_the_services_own(
    shutdown_world: World, options: dict[str, str], queue: str
) -> None:
    signature = {"task": "rooms.closed", "args": ["for-me"], "kwargs": {}, "options": options}
    shutdown = shutdown_world.client.stop_room(
        "signed", start_tasks(shutdown_world, ingest_stops("signed", 2)), callback=signature
    )
    expected = await_exact_counts(shutdown, 2)
    eventually(lambda: shutdown_world.redis.llen(queue) == 1, "told")
    queued: Any = shutdown_world.redis.lpop(queue)
    message = json.loads(queued)
    assert message["headers"]["task"] == "rooms.closed"
    args, _kwargs, _ = json.loads(base64.b64decode(message["body"]))
    progress, own = args
    assert own == "for-me"
    assert Progress.model_validate(progress).results == expected.results


def test_a_shutdown_goes_on_after_its_redis_was_restarted(tmp_path: Path) -> None:
    persistence = ("--appendonly", "yes")
    with world(
        tmp_path, limits=LIMITS, environ=ENVIRON | {"STREAMSTOP_REDIS_TIMEOUT": "1"}, redis_options=persistence
    ) as made:
        commands = start_tasks(made, paced_stops("restart", 200))
        made.client.register_many("restart", commands)
        shutdown = made.client.stop_room("restart")
        next(progress for progress in shutdown.watch(TIMEOUT) if progress.ended >= 20)
        made.server.process.terminate()
        made.server.process.wait(TIMEOUT)
        with redis_server(*persistence, folder=made.server.folder, port=made.server.port):
            progress = await_exact_counts(shutdown, 200)
            assert progress.status is ShutdownStatus.DONE
            assert running_tasks(made, "restart") == []
            made.workers[0].stop()


def test_every_key_of_rooms_and_shutdowns_ends(shutdown_world: World) -> None:
    left = start_tasks(shutdown_world, ingest_stops("kept", 2))
    shutdown_world.client.register_many("kept", left)
    shutdown = shutdown_world.client.stop_room("ended", start_tasks(shutdown_world, ingest_stops("ended", 10)))
    await_exact_counts(shutdown, 10)
    week, month = 7 * 86400, 30 * 86400
    ends = seconds_left(shutdown_world, f"streamstop.shutdown.{shutdown.id}*")
    assert len(ends) >= 4
    ends = seconds_left(shutdown_world, "streamstop.shutdown.*")
    assert [key for key, end in ends.items() if not 0 < end <= week] == []
    ends = seconds_left(shutdown_world, "streamstop.room.*")
    assert "streamstop.room.kept:tasks" in ends
    assert [key for key, end in ends.items() if not 0 < end <= month] == []
    # The index holds a lane until its last lease would have ended.
    eventually(lambda: other_keys_without_ttl(shutdown_world) <= {"streamstop.accounts"}, "every other key with an end")
