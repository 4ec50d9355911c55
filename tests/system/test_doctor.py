"""``streamstop doctor`` on real parts: each thing that can be wrong is named, with what to do."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command, Severity
from streamstop.operations import GetMPUTaskStatus, StopMPUTask
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.access_rules import OPERATOR, PRODUCER, WORKER, restricted_redis
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.signs_of_life import silence
from tests.support.world import ALIYUN, TENCENT, World, world
from tests.support.wrong_clock import redis_with_clock

#: The slow log is off: a command is slow too where the machine gives Redis no core meanwhile.
NO_SLOW_LOG = ("--slowlog-log-slower-than", "-1")
SAFE = ("--appendonly", "yes", "--appendfsync", "everysec", *NO_SLOW_LOG)
PASSWORD = "s3cret-of-redis"


def doctor(redis_url: str, *arguments: str, **environ: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run the command; return its exit code and the problems by check, after a look at the page for people."""
    command = [sys.executable, "-m", "streamstop", "doctor", *arguments]
    own = {**os.environ, "STREAMSTOP_REDIS_URL": redis_url, **environ}
    results = [
        subprocess.run([*command, *more], check=False, env=own, capture_output=True, text=True, timeout=60)
        for more in (["--json"], [])
    ]
    data, page = results
    assert data.stderr + page.stderr == ""
    assert data.returncode == page.returncode
    assert PASSWORD not in data.stdout + page.stdout
    assert max(map(len, page.stdout.splitlines())) <= 80
    found: dict[str, list[dict[str, Any]]] = {}
    for line in data.stdout.splitlines():
        finding = json.loads(line)
        if finding["severity"] == Severity.PROBLEM:
            assert finding["do"], finding
            found.setdefault(finding["check"], []).append(finding)
    assert page.stdout.count("\nproblem ") + page.stdout.startswith("problem ") == sum(map(len, found.values()))
    return data.returncode, found


def await_well_worker(made: World) -> None:
    """Wait until a worker is well and has published its accounts."""
    eventually(lambda: [view for view in made.client.workers() if view.is_well], "a worker is well")
    made.await_account(ALIYUN)
    made.await_account(TENCENT)


@pytest.mark.long
def test_without_a_problem_the_doctor_ends_with_0(tmp_path: Path) -> None:
    with world(tmp_path, redis_options=SAFE) as made:
        await_well_worker(made)
        made.simulator.settings(auto_start=True)
        assert doctor(made.server.url, "--account", ALIYUN) == (0, {})
        assert doctor(made.server.url, "--account", TENCENT) == (0, {})
        diagnosis = made.client.diagnose(ALIYUN)
        (about_key,) = [finding for finding in diagnosis.findings if finding.check == "account"]
        assert about_key.text.startswith(f"the key of {ALIYUN} is valid and may call live.GetMPUTaskStatus")
        assert 0 < about_key.facts["seconds"] < TIMEOUT_S
        assert made.client.dead_letters.count() == 0


@pytest.mark.long
def test_a_redis_that_is_down_is_a_finding_and_exit_4() -> None:
    with socket.socket() as bound:  # the port stays free of others, and nobody listens
        bound.bind(("127.0.0.1", 0))
        code, found = doctor(f"redis://:{PASSWORD}@127.0.0.1:{bound.getsockname()[1]}/0")
    assert (code, list(found)) == (4, ["redis.reachable"])
    (finding,) = found["redis.reachable"]
    assert "connection refused" in finding["text"]
    assert finding["do"] == "start Redis, or correct STREAMSTOP_REDIS_URL"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "redis://:wrong@127.0.0.1:{}/0"])
def test_a_wrong_or_missing_password_is_told(url: str) -> None:
    with redis_server() as server, server.client() as admin:
        admin.config_set("requirepass", PASSWORD)
        code, found = doctor(url.format(server.port))
    assert (code, list(found)) == (4, ["redis.reachable"])
    assert found["redis.reachable"][0]["do"] == "put Redis' user name and password into STREAMSTOP_REDIS_URL"


@pytest.mark.long
def test_a_redis_that_evicts_and_forgets_without_a_worker(tmp_path: Path) -> None:
    with redis_server("--maxmemory-policy", "allkeys-lru", *NO_SLOW_LOG) as server:
        code, found = doctor(server.url, STREAMSTOP_CONCURENCY="3", STREAMSTOP_REDIS_REPLICAS="1")
    assert code == 1
    assert {check: finding["do"] for check, (finding,) in found.items()} == {
        "settings": "did you mean STREAMSTOP_CONCURRENCY?",
        "redis.eviction": "set maxmemory-policy to noeviction",
        "redis.persistence": "set appendonly to yes",
        "redis.replicas": "start the replicas, or lower the setting: enqueueing fails",
        "workers.running": "start one: celery -A streamstop_worker worker",
    }


@pytest.mark.parametrize(
    # An hour and a minute are round: seconds more or less are the same words.
    ("ahead_s", "words"),
    [(10_800, "3 h behind Redis' clock"), (-600, "10 min ahead of Redis' clock")],
)
@pytest.mark.long
def test_a_clock_that_is_off_is_told(ahead_s: int, words: str) -> None:
    with redis_server(*SAFE) as server, redis_with_clock(server.port, ahead_s) as url:
        code, found = doctor(url)
    assert code == 1
    (finding,) = found["redis.clock"]
    assert words in finding["text"]
    assert abs(finding["facts"]["seconds"] + ahead_s) < 30


@pytest.mark.long
def test_a_lane_without_a_worker_and_workers_that_disagree(tmp_path: Path) -> None:
    with world(tmp_path, redis_options=SAFE, limits={"live.StopMPUTask": 8}, workers=0) as made:
        made.client.enqueue(
            StopMPUTask(app_id="a", task_id="t"), account="elsewhere"
        )  # no worker says that it is wrong
        code, found = doctor(made.server.url)
        assert (code, list(found)) == (1, ["workers.running", "lanes.served"])
        (finding,) = found["lanes.served"]
        assert (
            "lane elsewhere.live.StopMPUTask holds 1 job, and no running worker has account elsewhere"
            in finding["text"]
        )

        made.start_worker()
        made.write_accounts(DEFAULT_ACCOUNTS[:1], {"live.StopMPUTask": 4})
        made.start_worker()
        eventually(lambda: len([view for view in made.client.workers() if view.differences]) == 2, "two workers")
        code, found = doctor(made.server.url)
        assert (code, list(found)) == (1, ["workers.limits", "lanes.served"])
        assert f"{ALIYUN} live.StopMPUTask: 8 in w1@test, 4 in w2@test" in found["workers.limits"][0]["text"]
        made.workers[0].kill()
        silence(made.redis, "w1@test", 31)
        code, found = doctor(made.server.url)
        assert (code, list(found)) == (1, ["workers.lost", "lanes.served"])


@pytest.mark.long
def test_an_account_with_a_wrong_secret(tmp_path: Path) -> None:
    wrong = [replace(DEFAULT_ACCOUNTS[0], access_key_secret="wrong"), *DEFAULT_ACCOUNTS[1:]]
    with world(tmp_path, redis_options=SAFE) as made:
        made.workers[0].stop()
        made.write_accounts(wrong)
        made.start_worker()
        await_well_worker(made)
        code, found = doctor(made.server.url, "--account", ALIYUN)
        assert (code, list(found)) == (1, ["account"])
        assert found["account"][0]["text"].startswith(f"the vendor refuses the key of {ALIYUN} (SignatureDoesNotMatch")
        assert found["account"][0]["do"] == "put a valid key into the accounts file, and send the workers SIGHUP"
        assert made.client.dead_letters.count() == 0
        made.client.enqueue_many(
            [Command(operation=GetMPUTaskStatus(app_id="a", task_id=str(n)), account=ALIYUN) for n in range(9)]
        )
        (hold,) = eventually(made.client.holds, "the account is held")
        code, found = doctor(made.server.url, "--account", ALIYUN)
        assert (code, set(found)) == (1, {"account", "controls.holds", "dead_letters"})
        (about,) = found["account"]
        assert about["text"].startswith(f"account {ALIYUN} is held since {hold.at:%Y-%m-%d %H:%M} UTC")
        assert "SignatureDoesNotMatch" in about["text"]
        assert about["do"].endswith(f"streamstop resume {ALIYUN}")
        code, found = doctor(made.server.url, "--account", "nobody")
        assert code == 1
        assert found["account"][0]["text"].startswith("no running worker has account 'nobody'")


@pytest.mark.long
def test_each_redis_user_is_told_what_it_may_see() -> None:
    unknown = ["workers", "lanes.served", "controls", "dead_letters"]
    with restricted_redis() as restricted:
        code, found = doctor(restricted.url(PRODUCER))
        assert (code, list(found)) == (1, unknown)
        assert {finding["do"] for (finding,) in found.values()} == {"use a Redis user that may read this"}
        for user in (OPERATOR, WORKER):
            code, found = doctor(restricted.url(user))
            assert code == 1
            assert "workers.running" in found
            assert not {*unknown} & found.keys()
