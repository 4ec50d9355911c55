"""Dead letters as a person on call has them: real Redis, real workers, simulated vendors, and the executable."""

import base64
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from streamstop import (
    Command,
    Result,
    ShutdownStatus,
    UnknownDeadLetter,
    UnknownShutdown,
)
from streamstop._core.lane import Lane
from streamstop.operations import StopPublishCdnStream
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.dead_letter_world import (
    ENVIRON,
    LIMITS,
    STOP,
    TIMEOUT,
    calls_of,
    dead_letters,
    enqueue_and_await,
    enqueue_refused,
    ingest_stops,
    relay_stops,
    reload_accounts,
    run_dead,
    running_tasks,
    start_tasks,
    stop_room_with_failures,
)
from tests.support.executable import objects
from tests.support.foreign_messages import foreign_message
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import eventually
from tests.support.room_shutdowns import await_exact_counts
from tests.support.world import ALIYUN, TENCENT, World, world


@pytest.fixture(scope="module")
def dead_letter_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world of two workers."""
    with world(tmp_path_factory.mktemp("dead-letters"), workers=2, limits=LIMITS, environ=ENVIRON) as made:
        made.await_account(TENCENT)
        yield made


@pytest.fixture
def clean_world(dead_letter_world: World) -> Iterator[World]:
    """Return the module's world without dead letters, and remove those that the test leaves."""
    try:
        yield dead_letter_world
        assert [one.process.poll() for one in dead_letter_world.workers] == [None, None]
        assert [letter.id for letter in dead_letters(dead_letter_world)] == []
    finally:
        dead_letter_world.simulator.clear_faults()
        for letter in dead_letters(dead_letter_world):
            dead_letter_world.client.dead_letters.drop(letter.id)


# Jobs


def test_after_wrong_credentials_were_mended_everything_is_sent_once_more_and_once_only(clean_world: World) -> None:
    wrong = [replace(one, access_key_secret="no-longer-valid") for one in DEFAULT_ACCOUNTS if one.name == ALIYUN]
    clean_world.write_accounts([*wrong, *(one for one in DEFAULT_ACCOUNTS if one.name != ALIYUN)], LIMITS)
    reload_accounts(clean_world)
    commands = start_tasks(clean_world, relay_stops("rotated", 80))
    enqueue_and_await(clean_world, commands, Result.REFUSED)
    assert calls_of(clean_world, "rotated") == []

    listed = run_dead(clean_world, "list", "--account", ALIYUN, "--younger-than", "10m").stdout.splitlines()
    assert listed[-2] == "80 dead letters"
    assert listed[-1].split() == ["80", "refused", "SignatureDoesNotMatch", ALIYUN]
    assert run_dead(clean_world, "requeue", "--account", ALIYUN).returncode == 2
    assert len(dead_letters(clean_world)) == 80

    clean_world.write_accounts(DEFAULT_ACCOUNTS, LIMITS)
    reload_accounts(clean_world)
    done = run_dead(clean_world, "requeue", "--account", ALIYUN, "--yes", "--wait", str(TIMEOUT))
    assert (done.returncode, done.stderr) == (0, "80 dead letters requeued\n")
    assert done.stdout.splitlines()[-1] == "80 jobs: 80 stopped"
    assert Counter(call.params["TaskId"] for call in calls_of(clean_world, "rotated")) == {
        f"rotated-{n}": 1 for n in range(80)
    }
    assert run_dead(clean_world, "list").stdout == "0 dead letters\n"


def test_two_concurrent_requeues_requeue_each_letter_once(clean_world: World) -> None:
    ids = [job.id for job in enqueue_refused(clean_world, "both", 200)]
    since = len(clean_world.simulator.calls())
    script = """
import sys
from streamstop import Client, UnknownDeadLetter
dead = Client(sys.argv[1]).dead_letters
ids = sys.stdin.read().split()
dead.count()
print("ready", flush=True)
dead._backend.connections.redis.blpop(["test.go"], 60)
for letter_id in ids:
    try:
        print(dead.requeue(letter_id).id)
    except UnknownDeadLetter:
        pass
"""
    made: list[list[str]] = []
    with ExitStack() as stack:
        command = [sys.executable, "-c", script, clean_world.server.url]
        both = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(2)
        ]
        for one in both:
            assert one.stdin is not None
            assert one.stdout is not None
            one.stdin.write("\n".join(ids))
            one.stdin.close()
            assert one.stdout.readline() == "ready\n"
        clean_world.redis.rpush("test.go", 1, 2)
        for one in both:
            assert one.stdout is not None
            made.append(one.stdout.read().split())
            assert one.wait(TIMEOUT) == 0
    jobs = [clean_world.client.job(job_id) for of_one in made for job_id in of_one]
    assert len(jobs) == len(set(jobs)) == 200, [len(of_one) for of_one in made]
    assert {outcome.result for outcome in clean_world.client.outcomes(jobs, timeout=TIMEOUT)} == {Result.STOPPED}
    assert set(Counter(call.params["TaskId"] for call in calls_of(clean_world, "both", since=since)).values()) == {1}
    assert dead_letters(clean_world) == []


def test_a_requeued_job_that_fails_again_is_another_letter(clean_world: World) -> None:
    (command,) = ingest_stops("again", 1)
    (job,) = enqueue_and_await(clean_world, [command], Result.NOT_FOUND)
    ids = {job.id}
    for _ in range(2):
        done = run_dead(clean_world, "requeue", "--result", "not_found", "--yes", "--wait", str(TIMEOUT), "--json")
        assert done.returncode == 1
        (one,) = objects(done.stdout)
        assert one["letter"] in ids
        assert one["outcome"]["result"] == "not_found"
        (letter,) = dead_letters(clean_world)
        assert letter.id == one["job_id"]
        ids.add(letter.id)
    assert len(ids) == 3
    start_tasks(clean_world, [command])
    assert run_dead(clean_world, "requeue", letter.id, "--wait", str(TIMEOUT)).returncode == 0
    assert len(calls_of(clean_world, "again")) == 4


def test_an_expired_command_is_sent_when_it_is_requeued(clean_world: World) -> None:
    (command,) = start_tasks(clean_world, ingest_stops("late", 1))
    (job,) = enqueue_and_await(clean_world, [replace(command, expires_in=timedelta(microseconds=1))], Result.EXPIRED)
    assert calls_of(clean_world, "late") == []
    requeued = clean_world.client.dead_letters.requeue(job.id)
    assert requeued.outcome(TIMEOUT).result is Result.STOPPED
    with pytest.raises(UnknownDeadLetter):
        clean_world.client.dead_letters.requeue(job.id)
    assert len(calls_of(clean_world, "late")) == 1


def test_poisoned_messages_are_letters_with_their_text_and_the_lane_goes_on(clean_world: World) -> None:
    lane = Lane(TENCENT, "trtc.StopStreamIngest")
    good = {"operation": lane.operation, "account": TENCENT, "params": {"SdkAppId": 1, "TaskId": "t"}}
    deep: object = json.loads("[" * 500 + "]" * 500)
    poison = {
        "half-a-pair": {**good, "params": {"SdkAppId": 1, "TaskId": "\ud800"}},
        "deep": {**good, "params": deep},
        "escapes": {**good, "params": {"\x1b[2J": "\u202e"}},
    }
    for job_id, command in poison.items():
        clean_world.redis.lpush(lane.queue, foreign_message(command, job_id=job_id, queue=lane.queue))
    clean_world.redis.lpush(lane.queue, "\x1b[2J no message")
    enqueue_and_await(clean_world, start_tasks(clean_world, ingest_stops("after-poison", 1)), Result.STOPPED)
    assert {clean_world.client.job(job_id).outcome(TIMEOUT).result for job_id in poison} == {Result.REFUSED}
    eventually(lambda: len(dead_letters(clean_world)) == 4, "all are letters")

    (unread,) = dead_letters(clean_world, readable=False)
    assert unread.message == "\x1b[2J no message"
    readable = {letter.id: letter for letter in dead_letters(clean_world, readable=True)}
    assert readable.keys() == poison.keys()
    for job_id, letter in readable.items():
        body = base64.b64decode(json.loads(letter.message or "")["body"])
        assert json.loads(body)[0][0] == poison[job_id]
    for letter_id in (unread.id, *readable):
        shown = run_dead(clean_world, "show", letter_id)
        assert shown.returncode == 0
        assert "\x1b" not in shown.stdout
        assert "\u202e" not in shown.stdout
    again = run_dead(clean_world, "requeue", "--all", "--yes", "--wait", str(TIMEOUT))
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1] == "1 job: 1 refused", "the vendor never had a chance"
    assert again.stderr.splitlines()[-1] == "1 dead letter requeued, 3 not"
    assert run_dead(clean_world, "drop", "--all", "--yes").returncode == 0


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
        for one in clean_world.workers:
            one.signal(signal.SIGSTOP)
        try:
            assert run_dead(clean_world, "requeue", "-", stdin="\n".join(ids)).returncode == 0
            progress = shutdown.progress()
            assert (progress.status, progress.results) == (ShutdownStatus.OPEN, {Result.STOPPED: 30})
            assert [(lane.total, lane.ended) for lane in progress.lanes] == [(50, 30)]
        finally:
            for one in clean_world.workers:
                one.signal(signal.SIGCONT)
        progress = await_exact_counts(shutdown, 50)
        assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.STOPPED: 50})
        assert len(clean_world.client.room("mended").tasks) == 0
        assert running_tasks(clean_world, "mended") == []
        eventually(lambda: len(told_so) == 2, "told again")
    assert [one["status"] for one in told_so] == ["needs_attention", "done"]
    assert (told_so[-1]["total"], told_so[-1]["results"]) == (50, {"stopped": 50})
    made = Counter(str(call.params["TaskId"]) for call in calls_of(clean_world, "mended"))
    assert made == {f"mended-{n}": 1 if n < 30 else 2 for n in range(50)}


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
    slow = [
        Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id=f"taken-back-{n}"), account=TENCENT)
        for n in range(100)
    ]
    (absent,) = ingest_stops("taken-back", 1)
    shutdown = clean_world.client.stop_room("taken-back", [absent, *start_tasks(clean_world, slow)])
    eventually(lambda: len(dead_letters(clean_world)) == 1, "the one is a letter")
    assert shutdown.cancel()
    before = await_exact_counts(shutdown, 101)
    assert before.status is ShutdownStatus.CANCELLED
    start_tasks(clean_world, [absent])
    done = run_dead(clean_world, "requeue", "--all", "--yes", "--wait", str(TIMEOUT))
    assert done.stdout.splitlines()[-1] == "1 job: 1 stopped"
    after = await_exact_counts(shutdown, 101)
    assert (after.status, after.results) == (before.status, before.results)


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
