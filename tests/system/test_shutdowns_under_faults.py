"""Shutdowns under faults: killed workers, racing producers, tasks that do not stop, a Redis that restarts."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command, Outcome, Progress, Result, Shutdown, ShutdownStatus, callbacks
from streamstop.operations import StopStreamIngest
from streamstop_simulator import Call
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import eventually
from tests.support.room_shutdowns import (
    ENVIRON,
    LIMITS,
    PACED,
    SECRET,
    TIMEOUT,
    assert_whole,
    go,
    ingests,
    jobs_of,
    paced,
    produce,
    running,
    said,
    started,
)
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world of two workers, to be killed."""
    with world(tmp_path_factory.mktemp("fire"), workers=2, limits=LIMITS, environ=ENVIRON) as made:
        yield made


@pytest.fixture(autouse=True)
def _two_workers_again(fire: World) -> Iterator[None]:
    yield
    while sum(one.process.poll() is None for one in fire.workers) < 2:
        fire.start_worker()


def test_a_worker_that_is_killed_in_the_fan_out_leaves_no_task_out_and_none_twice(fire: World) -> None:
    rooms = {}
    for room, reached in (("first", 1), ("middle", 800), ("last", 1500)):
        commands = started(fire, ingests(room, 1500))
        fire.client.register_many(room, commands)
        rooms[room] = shutdown = fire.client.stop_room(room)
        eventually(lambda s=shutdown, n=reached: jobs_of(fire, s) >= n, f"{reached} jobs", interval=0.002)  # type: ignore[misc]
        for one in fire.workers:
            one.kill()
        fire.start_worker()
    fire.start_worker()
    for room, shutdown in rooms.items():
        progress = assert_whole(shutdown, 1500, timeout=90)
        assert set(progress.results) <= {Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND}
        assert running(fire, room) == []


def test_workers_that_are_killed_among_the_stops_change_no_count(fire: World) -> None:
    commands = started(fire, paced("stops", 300))
    fire.client.register_many("stops", commands)
    shutdown = fire.client.stop_room("stops")
    for reached in (40, 120):
        next(progress for progress in shutdown.watch(TIMEOUT) if progress.ended >= reached)
        for one in fire.workers:
            one.kill()
        fire.start_worker()
    progress = assert_whole(shutdown, 300)
    # A stop whose worker died with the answer is called again, and this vendor then knows the task no more.
    assert set(progress.results) <= {Result.STOPPED, Result.ALREADY_STOPPED, Result.NOT_FOUND}, list(
        shutdown.outcomes()
    )
    assert running(fire, "stops") == []


def test_two_processes_that_stop_a_room_at_once_have_one_shutdown_and_each_task_is_stopped_once(fire: World) -> None:
    commands = started(fire, ingests("twice", 300))
    fire.client.register_many("twice", commands)
    since = len(fire.simulator.calls())
    producers = [produce(fire, "print(client.stop_room('twice').id)") for _ in range(2)]
    go(fire, len(producers))
    ids = {shutdown_id for producer in producers for shutdown_id in said(producer)}
    assert len(ids) == 1
    progress = assert_whole(fire.client.shutdown(*ids), 300)
    assert progress.results == {Result.STOPPED: 300}
    called = Counter(str(call.params["TaskId"]) for call in fire.simulator.calls(since=since))
    assert set(called.values()) == {1}


def test_of_two_hundred_registrations_that_race_a_shutdown_none_is_left_running(fire: World) -> None:
    script = """
first, number = int(sys.argv[3]), int(sys.argv[4])
for n in range(first, first + number):
    stop = StopStreamIngest(sdk_app_id=1, task_id=f"race-{n}")
    simulator.start_tasks(sys.argv[5], [stop])
    client.register("race", stop, account=sys.argv[5])
"""
    producers = [produce(fire, script, first, 50, TENCENT) for first in (0, 50)]

    def register(n: int) -> None:
        (command,) = started(fire, [paced("race", 200)[n]])
        fire.client.register("race", command.operation, account=command.account)

    with ThreadPoolExecutor(4) as threads:
        go(fire, len(producers))
        registering = [threads.submit(register, n) for n in range(100, 200)]
        eventually(lambda: len(fire.client.room("race").tasks) >= 60, "in the middle")
        shutdown = fire.client.stop_room("race")
        for one in registering:
            one.result()
        for producer in producers:
            said(producer)
    eventually(lambda: shutdown.progress().ended == 200, "everything stopped")
    progress = assert_whole(shutdown, 200)
    assert progress.results == {Result.STOPPED: 200}
    assert running(fire, "race") == []


@pytest.mark.paced
def test_a_small_room_and_a_single_stop_go_ahead_of_a_big_room_whose_tail_still_moves(fire: World) -> None:
    big = started(fire, paced("big", 600))
    fire.client.register_many("big", big)
    whole = fire.client.stop_room("big")
    next(progress for progress in whole.watch(TIMEOUT) if progress.ended >= 30)

    began = calls(fire)
    small = fire.client.stop_room("small", started(fire, paced("small", 5)))
    assert small.wait(TIMEOUT).results == {Result.STOPPED: 5}
    assert place_of_last(calls(fire)[len(began) :], "small") <= 60

    began = calls(fire)
    (single,) = fire.client.enqueue_many(started(fire, paced("single", 1)))
    assert single.outcome(TIMEOUT).ok
    assert place_of_last(calls(fire)[len(began) :], "single") <= PACED // 2, "what was taken, and a few slots"

    next(progress for progress in whole.watch(TIMEOUT) if progress.ended >= 280)
    assert whole.progress().status is ShutdownStatus.OPEN
    began = calls(fire)
    crowd = [fire.client.stop_room(f"crowd{n}", started(fire, paced(f"crowd{n}", 20))) for n in range(8)]
    for one in crowd:
        assert one.wait(TIMEOUT).results == {Result.STOPPED: 20}
    crowded = calls(fire)[len(began) :]
    ids = [str(call.params["TaskId"]) for call in crowded]
    of_crowd = [place for place, task_id in enumerate(ids) if task_id.startswith("crowd")]
    tail = [task_id for task_id in ids[of_crowd[0] : of_crowd[-1]] if task_id.startswith("big")]
    assert len(tail) >= len(of_crowd) // 30, "the big room's tail moves"
    assert len(tail) <= len(of_crowd), "and the small ones go before it"
    assert_whole(whole, 600)


def calls(fire: World) -> list[Call]:
    return fire.simulator.calls(ALIYUN, "live.StopMPUTask")


def place_of_last(made: Sequence[Call], room: str) -> int:
    return max(place for place, call in enumerate(made, 1) if str(call.params["TaskId"]).startswith(f"{room}-"))


def test_a_task_that_acknowledges_its_stops_and_runs_on_is_stopped_twice_and_then_a_persons(fire: World) -> None:
    stop = StopStreamIngest(sdk_app_id=1, task_id="stubborn-1")
    fire.simulator.start_tasks(TENCENT, [stop], ignores_stops=True)
    commands = started(fire, [Command(operation=StopStreamIngest(sdk_app_id=1, task_id="tame-1"), account=TENCENT)])
    commands.append(Command(operation=stop, account=TENCENT))
    since = len(fire.simulator.calls())
    shutdown = fire.client.stop_room("stubborn", commands, verify=True)
    progress = assert_whole(shutdown, 2)
    assert progress.status is ShutdownStatus.NEEDS_ATTENTION
    assert progress.results == {Result.NOT_VERIFIED: 1, Result.VERIFIED: 1}
    made = Counter(
        call.operation for call in fire.simulator.calls(since=since) if call.params["TaskId"] == "stubborn-1"
    )
    assert made["trtc.StopStreamIngest"] == 2
    assert made["trtc.DescribeStreamIngest"] >= 4, "asked again after each, in a lane of its own"
    outcome = by_task(shutdown, Result.NOT_VERIFIED)
    assert outcome.message == "the vendor acknowledged two stops, and the task runs on 2 s later"
    assert outcome.status is not None
    assert not outcome.status.over
    assert len(fire.client.room("stubborn").tasks) == 0, "what was passed was never registered"


def by_task(shutdown: Shutdown, result: Result) -> Outcome:
    (outcome,) = (outcome for outcome in shutdown.outcomes() if outcome.result is result)
    return outcome


def test_a_job_of_a_shutdown_that_its_producer_cancels_counts_as_cancelled(fire: World) -> None:
    commands = started(fire, paced("taken", 150))
    shutdown = fire.client.stop_room("taken", commands)
    eventually(lambda: jobs_of(fire, shutdown) == 150, "all jobs in their lane")
    held: Any = fire.redis.hgetall(f"streamstop.shutdown.{shutdown.id}:jobs")
    (last,) = (job_id.decode() for member, job_id in held.items() if b'"taken-149"' in member)
    assert fire.client.job(last).cancel().result is Result.CANCELLED
    progress = assert_whole(shutdown, 150)
    assert progress.status is ShutdownStatus.DONE
    assert progress.results == {Result.STOPPED: 149, Result.CANCELLED: 1}
    assert running(fire, "taken") == ["taken-149"]


def test_a_callback_to_a_url_is_signed_and_made_again_until_it_is_taken(fire: World) -> None:
    requests: list[bytes] = []

    def receive(connection: Connection) -> None:
        while True:
            requests.append(connection.request())
            connection.answer(b"", status=b"500 Oh" if len(requests) == 1 else b"204 No Content")

    with LoopbackServer(receive) as server:
        shutdown = fire.client.stop_room(
            "told", started(fire, ingests("told", 4)), callback=f"{server.origin}/hook?room=told"
        )
        told = assert_whole(shutdown, 4)
        eventually(lambda: len(requests) == 2, "told twice")
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        assert line == "POST /hook?room=told HTTP/1.1"
        assert headers["content-type"] == "application/json"
        assert callbacks.verify(SECRET, headers[callbacks.HEADER], body)
        assert not callbacks.verify("other", headers[callbacks.HEADER], body)
        got = Progress.model_validate_json(body)
        assert got.model_dump(exclude={"lanes"}) == told.model_dump(exclude={"lanes"})
        assert [(lane.operation, lane.total, lane.ended) for lane in got.lanes] == [
            (lane.operation, lane.total, lane.ended) for lane in told.lanes
        ]


@pytest.mark.parametrize(("options", "queue"), [({"queue": "service"}, "service"), ({}, "celery")])
def test_a_callback_can_be_a_celery_signature_of_the_services_own(
    fire: World, options: dict[str, str], queue: str
) -> None:
    signature = {"task": "rooms.closed", "args": ["for-me"], "kwargs": {}, "options": options}
    shutdown = fire.client.stop_room("signed", started(fire, ingests("signed", 2)), callback=signature)
    told = assert_whole(shutdown, 2)
    eventually(lambda: fire.redis.llen(queue) == 1, "told")
    queued: Any = fire.redis.lpop(queue)
    message = json.loads(queued)
    assert message["headers"]["task"] == "rooms.closed"
    args, _kwargs, _ = json.loads(base64.b64decode(message["body"]))
    progress, own = args
    assert own == "for-me"
    assert Progress.model_validate(progress).results == told.results


def test_a_shutdown_goes_on_after_its_redis_was_restarted(tmp_path: Path) -> None:
    kept = ("--appendonly", "yes")
    with world(
        tmp_path, limits=LIMITS, environ=ENVIRON | {"STREAMSTOP_REDIS_TIMEOUT": "1"}, redis_options=kept
    ) as made:
        commands = started(made, paced("restart", 200))
        made.client.register_many("restart", commands)
        shutdown = made.client.stop_room("restart")
        next(progress for progress in shutdown.watch(TIMEOUT) if progress.ended >= 20)
        made.server.process.terminate()
        made.server.process.wait(TIMEOUT)
        with redis_server(*kept, folder=made.server.folder, port=made.server.port):
            progress = assert_whole(shutdown, 200)
            assert progress.status is ShutdownStatus.DONE
            assert running(made, "restart") == []
            made.workers[0].stop()


def test_every_key_of_rooms_and_shutdowns_ends(fire: World) -> None:
    left = started(fire, ingests("kept", 2))
    fire.client.register_many("kept", left)
    shutdown = fire.client.stop_room("ended", started(fire, ingests("ended", 10)))
    assert_whole(shutdown, 10)
    week, month = 7 * 86400, 30 * 86400
    ends = {key.decode(): fire.redis.ttl(key) for key in fire.redis.scan_iter("streamstop.shutdown.*")}
    assert len(ends) >= 5
    assert [key for key, end in ends.items() if not 0 < int(end) <= week] == []
    ends = {key.decode(): fire.redis.ttl(key) for key in fire.redis.scan_iter("streamstop.room.*")}
    assert "streamstop.room.kept:tasks" in ends
    assert [key for key, end in ends.items() if not 0 < int(end) <= month] == []
    # A lane is noted there until its last lease would have ended.
    eventually(lambda: endless(fire) <= {"streamstop.accounts"}, "every other key with an end")


def endless(fire: World) -> set[str]:
    """Return the keys without a time to live, beside Celery's own and dead letters."""
    keys = [key.decode() for key in fire.redis.scan_iter("*") if fire.redis.ttl(key) == -1]
    return {key for key in keys if not key.startswith(("_kombu", "streamstop.dead"))}
