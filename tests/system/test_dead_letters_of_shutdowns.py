"""Dead letters of shutdowns, with a real Redis, real workers, the simulated vendors, and the executable."""

import json
from collections import Counter
from typing import Any

import pytest

from streamstop import (
    Command,
    Result,
    ShutdownStatus,
    UnknownShutdown,
)
from streamstop.operations import StopPublishCdnStream
from tests.support.dead_letter_world import (
    STOP,
    TIMEOUT,
    calls_of,
    dead_letters,
    ingest_stops,
    run_dead,
    running_tasks,
    start_tasks,
    stop_room_with_failures,
)
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import eventually
from tests.support.room_shutdowns import await_exact_counts
from tests.support.world import TENCENT, World


@pytest.mark.long
def test_a_shutdown_that_needs_attention_is_done_and_calls_back_once_its_letters_are_requeued(
    clean_world: World,
) -> None:
    told_so: list[Any] = []

    def receive(connection: Connection) -> None:
        while True:
            told_so.append(json.loads(connection.request().partition(b"\r\n\r\n")[2]))
            connection.answer(b"", status=b"204 No Content")

    with LoopbackServer(receive) as server:
        shutdown = stop_room_with_failures(
            clean_world, "mended", good=30, absent=10, forbidden=10, callback=f"{server.origin}/hook"
        )
        eventually(lambda: len(told_so) == 1, "told")
        assert run_dead(clean_world, "requeue", "--room", "another", "--yes").stderr.startswith(
            "0 dead letters requeued"
        )
        ids = [letter.id for letter in dead_letters(clean_world, room="mended")]
        assert len(ids) == 20
        with clean_world.paused():
            assert run_dead(clean_world, "requeue", "-", stdin="\n".join(ids)).returncode == 0
            progress = shutdown.progress()
            assert (progress.status, progress.results) == (ShutdownStatus.OPEN, {Result.STOPPED: 30})
            assert [(lane.total, lane.ended) for lane in progress.lanes] == [(50, 30)]
        progress = await_exact_counts(shutdown, 50)
        assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.STOPPED: 50})
        assert len(clean_world.client.room("mended").tasks) == 0
        assert running_tasks(clean_world, "mended") == []
        eventually(lambda: len(told_so) == 2, "told again")
    assert [one["status"] for one in told_so] == ["needs_attention", "done"]
    assert (told_so[-1]["total"], told_so[-1]["results"]) == (50, {"stopped": 50})
    made = Counter(str(call.params["TaskId"]) for call in calls_of(clean_world, "mended"))
    assert made == {f"mended-{n}": 1 if n < 30 else 2 for n in range(50)}


@pytest.mark.long
def test_a_task_that_stops_after_several_requeues_is_verified(clean_world: World) -> None:
    stubborn, tame = ingest_stops("verified", 2)
    start_tasks(clean_world, [stubborn], ignores_stops=True)
    start_tasks(clean_world, [tame])
    clean_world.client.register_many("verified", [stubborn, tame])
    shutdown = clean_world.client.stop_room("verified", verify=True)
    ids: set[str] = set()
    for _ in range(2):
        progress = await_exact_counts(shutdown, 2)
        assert progress.status is ShutdownStatus.NEEDS_ATTENTION
        assert progress.results == {Result.VERIFIED: 1, Result.NOT_VERIFIED: 1}
        assert [task.operation for task in clean_world.client.room("verified").tasks] == [stubborn.operation]
        (letter,) = dead_letters(clean_world)
        assert (letter.result, letter.operation, letter.room) == (Result.NOT_VERIFIED, STOP, "verified")
        ids.add(letter.id)
        if len(ids) == 2:
            start_tasks(clean_world, [stubborn])  # now one that stops
        clean_world.client.dead_letters.requeue(letter.id)
    assert len(ids) == 2
    progress = await_exact_counts(shutdown, 2)
    assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.VERIFIED: 2})
    assert len(clean_world.client.room("verified").tasks) == 0
    stops = [call.params["TaskId"] for call in calls_of(clean_world, "verified") if call.operation == STOP]
    assert Counter(stops) == {"verified-0": 5, "verified-1": 1}, "two for each that failed, and the last"


def test_letters_of_a_shutdown_that_is_forgotten_are_sent_alone(clean_world: World) -> None:
    shutdown = stop_room_with_failures(clean_world, "forgotten", good=1, absent=2, forbidden=0)
    keys: Any = clean_world.redis.keys(f"streamstop.shutdown.{shutdown.id}*")
    clean_world.redis.delete(*keys)
    done = run_dead(clean_world, "requeue", "--room", "forgotten", "--yes", "--wait", str(TIMEOUT))
    assert done.stdout.splitlines()[-1] == "2 jobs: 2 stopped"
    assert running_tasks(clean_world, "forgotten") == []
    with pytest.raises(UnknownShutdown):
        shutdown.progress()
    assert clean_world.redis.keys(f"streamstop.shutdown.{shutdown.id}*") == []


def test_letters_of_a_shutdown_that_was_cancelled_are_sent_and_change_nothing_in_it(clean_world: World) -> None:
    waiting = [
        Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id=f"taken-back-{n}"), account=TENCENT)
        for n in range(100)
    ]
    (absent,) = ingest_stops("taken-back", 1)
    with clean_world.paused(f"{TENCENT}.trtc.StopPublishCdnStream"):
        shutdown = clean_world.client.stop_room("taken-back", [absent, *start_tasks(clean_world, waiting)])
        eventually(lambda: len(dead_letters(clean_world)) == 1, "the one is a letter")
        assert shutdown.cancel()
        before = await_exact_counts(shutdown, 101)
    assert before.status is ShutdownStatus.CANCELLED
    start_tasks(clean_world, [absent])
    done = run_dead(clean_world, "requeue", "--all", "--yes", "--wait", str(TIMEOUT))
    assert done.stdout.splitlines()[-1] == "1 job: 1 stopped"
    after = await_exact_counts(shutdown, 101)
    assert (after.status, after.results) == (before.status, before.results)


@pytest.mark.long
def test_a_room_that_is_stopped_again_while_its_old_letters_are_requeued_leaves_nothing_running(
    clean_world: World,
) -> None:
    shutdown = stop_room_with_failures(clean_world, "anew", good=2, absent=10, forbidden=0)
    assert clean_world.client.reopen_room("anew")
    today = start_tasks(clean_world, ingest_stops("anew-today", 20))
    assert clean_world.client.register_many("anew", today) is None
    for letter in dead_letters(clean_world):
        clean_world.client.dead_letters.requeue(letter.id)
    assert clean_world.client.register_many("anew", today) is None, "the room is in use"
    newer = clean_world.client.stop_room("anew")
    assert newer != shutdown
    old, new = shutdown.wait(TIMEOUT), newer.wait(TIMEOUT)
    assert (old.total, old.ended) == (12, 12)
    assert new.total == new.ended
    assert new.total >= 20
    assert running_tasks(clean_world, "anew") == []
    assert running_tasks(clean_world, "anew-today") == []
    # One shutdown stopped a task of both; the vendor may no longer have known it for the other.
    assert {letter.result for letter in dead_letters(clean_world)} <= {Result.NOT_FOUND}
    run_dead(clean_world, "drop", "--all", "--yes")
