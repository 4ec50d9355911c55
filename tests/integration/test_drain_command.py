"""``streamstop drain`` on a real Redis: what it asks, what it prints, and Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest
from redis import Redis

from streamstop import (
    Client,
    Command,
    Lane,
)
from streamstop._redis.drain import PAGE
from streamstop.operations import StopMPUTask
from streamstop_simulator.demo.embedded_redis import RedisServer
from tests.support.bad_network import bad_network
from tests.support.known_accounts import publish_for_an_hour
from tests.support.polling import TIMEOUT_S, eventually

LIVE = Lane("live-cn", "live.StopMPUTask")


def stops(count: int, account: str = "live-cn", **options: Any) -> list[Command]:
    return [
        Command(operation=StopMPUTask(app_id="a", task_id=f"t-{number}"), account=account, **options)
        for number in range(count)
    ]


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "streamstop", "drain", *arguments, "--redis", url]


def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(url, *arguments), capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
@pytest.mark.long
def test_the_command_refuses_an_account_that_nobody_knows(redis_url: str, real_redis: Redis, option: str) -> None:
    publish_for_an_hour(real_redis, {"live-de": "aliyun"})
    done = run(redis_url, "live-cn", option)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no running worker has account 'live-cn'" in done.stderr
    assert run(redis_url, "live-de", option).returncode == 0


@pytest.mark.long
def test_the_command_asks_for_yes_where_there_is_no_terminal(client: Client, redis_url: str) -> None:
    client.enqueue_many(stops(7))
    refused = run(redis_url, "live-cn")
    assert refused.returncode == 2
    assert "7 jobs would be cancelled: 7 waiting, 0 deferred, and there is no terminal" in refused.stderr
    assert "pass --yes to cancel them" in refused.stderr
    dry = run(redis_url, "live-cn", "--dry-run")
    assert dry.returncode == 0
    lines = dry.stdout.splitlines()
    assert lines[:3] == ["7 jobs would be cancelled: 7 waiting, 0 deferred", "     7  live.StopMPUTask", "such as"]
    assert len(lines) == 8
    assert lines[3].endswith("live.StopMPUTask  AppId=a TaskId=t-0")
    assert client.lanes([LIVE])[0].waiting == 7
    done = run(redis_url, "live-cn", "live.StopMPUTask", "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert (data["jobs"], data["waiting"], data["dry_run"], data["account"]) == (7, 7, False, "live-cn")
    assert run(redis_url, "live-cn", "--yes").stdout == "nothing waits that fits\n"
    assert run(redis_url, "live-cn", "--yes", "--dry-run").returncode == 2
    assert run(redis_url, "live-cn", "--older-than", "soon").returncode == 2


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 3), (b"y\n", 0, 0)])
def test_on_a_terminal_the_command_asks(client: Client, redis_url: str, answer: bytes, code: int, left: int) -> None:
    client.enqueue_many(stops(3))
    master, slave = pty.openpty()
    with subprocess.Popen(command(redis_url, "live-cn"), stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = b""
        while b"Cancel them?" not in output:
            output += os.read(master, 65536)
        os.write(master, answer)
        assert process.wait(60) == code
    os.close(master)
    assert b"3 jobs would be cancelled" in output
    assert client.lanes([LIVE])[0].waiting == left


@pytest.mark.long
def test_interrupted_it_says_how_many_were_cancelled_and_they_stay_cancelled(
    client: Client, redis_process: RedisServer
) -> None:
    total = 5000
    client.enqueue_many(stops(total))
    with bad_network(redis_process.port) as network:
        network.cut_after = 50  # in its middle the drain waits for an answer that never comes
        words = command(f"redis://127.0.0.1:{network.port}/0", "live-cn", "live.StopMPUTask", "--yes")
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            eventually(lambda: network.cut_after is None, "the drain is under way")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    left = client.lanes([LIVE])[0].waiting
    told = int(errors.partition("interrupted: ")[2].split()[0])
    assert total - left - PAGE <= told <= total - left
    assert 0 < told < total
    (event,) = client.events()
    assert event.text == f"{told} waiting and 0 deferred jobs are cancelled"
    assert client.drain("live-cn").jobs == left
