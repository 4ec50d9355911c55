"""Dead letters of jobs, with a real Redis, real workers, the simulated vendors, and the executable."""

import base64
import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest

from streamstop import (
    Result,
    UnknownDeadLetter,
)
from streamstop._core.lane import Lane
from streamstop.cli._shared.output import counted
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.dead_letter_world import (
    LIMITS,
    TIMEOUT,
    calls_of,
    dead_letters,
    enqueue_and_await,
    enqueue_refused,
    ingest_stops,
    relay_stops,
    reload_accounts,
    run_dead,
    start_tasks,
)
from tests.support.executable import environ, objects
from tests.support.foreign_messages import foreign_message
from tests.support.polling import eventually
from tests.support.world import ALIYUN, TENCENT, World


@pytest.mark.long
def test_after_wrong_credentials_were_mended_everything_is_sent_once_and_once_only(clean_world: World) -> None:
    wrong = [replace(one, access_key_secret="no-longer-valid") for one in DEFAULT_ACCOUNTS if one.name == ALIYUN]
    clean_world.write_accounts([*wrong, *(one for one in DEFAULT_ACCOUNTS if one.name != ALIYUN)], LIMITS)
    reload_accounts(clean_world)
    jobs = clean_world.client.enqueue_many(start_tasks(clean_world, relay_stops("rotated", 80)))
    eventually(lambda: bool(clean_world.client.holds()), "the account is held")
    refused = dead_letters(clean_world)
    assert 0 < len(refused) <= 5
    assert calls_of(clean_world, "rotated") == []

    listed = run_dead(clean_world, "list", "--account", ALIYUN, "--younger-than", "10m").stdout.splitlines()
    assert listed[-1].split() == [str(len(refused)), "refused", "SignatureDoesNotMatch", ALIYUN]
    assert run_dead(clean_world, "requeue", "--account", ALIYUN).returncode == 2
    assert dead_letters(clean_world) == refused

    clean_world.write_accounts(DEFAULT_ACCOUNTS, LIMITS)
    reload_accounts(clean_world)
    done = run_dead(clean_world, "requeue", "--account", ALIYUN, "--yes", "--wait", str(TIMEOUT))
    assert (done.returncode, done.stderr) == (0, f"{counted(len(refused), 'dead letter')} requeued\n")
    dead = {letter.id for letter in refused}
    ended = clean_world.client.outcomes([job for job in jobs if job.id not in dead], TIMEOUT)
    assert Counter(outcome.result for outcome in ended) == {Result.STOPPED: 80 - len(refused)}
    assert Counter(call.params["TaskId"] for call in calls_of(clean_world, "rotated")) == {
        f"rotated-{n}": 1 for n in range(80)
    }
    assert run_dead(clean_world, "list").stdout == "0 dead letters\n"


@pytest.mark.long
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
            stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environ(clean_world.server.url),
                )
            )
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


@pytest.mark.long
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


@pytest.mark.long
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
