"""The health check and ``streamstop workers``, with workers that run, hang, stop, and are gone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis

from streamstop import Client, WorkerState
from streamstop._core.constants import EVENTS
from streamstop.cli import main
from streamstop_worker.health import find_problems
from streamstop_worker.settings import client_name
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.signs_of_life import silence, worker_view
from tests.support.world import ALIYUN, World, world


def health(redis_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STREAMSTOP_REDIS_URL": redis_url}
    command = [sys.executable, "-m", "streamstop_worker.health", *arguments]
    return subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)


def table(made: World) -> list[str]:
    result = CliRunner().invoke(main, ["workers", "--redis", made.server.url])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    return result.output.splitlines()


def state_of(client: Client, name: str) -> WorkerState | None:
    return next((view.state for view in client.workers() if view.name == name), None)


def problem_of(client: Client) -> str:
    """Return what is wrong with the only worker."""
    (view,) = client.workers()
    return view.problem or ""


def is_unwell(made: World, reason: str) -> bool:
    """Return whether the health check names `reason`; it must fail in any case."""
    done = health(made.server.url)
    assert done.returncode == 1
    return reason in done.stderr


def events_of(redis: Redis) -> list[tuple[str, str]]:
    """Return the kinds and workers of the events of workers."""
    entries: Any = redis.xrange(EVENTS)  # redis-py types replies as bytes or text
    pairs = [(fields[b"kind"].decode(), fields[b"by"].decode()) for _, fields in entries]
    return [pair for pair in pairs if pair[0].startswith("worker_")]


@pytest.mark.long
def test_a_worker_is_well_while_it_runs_lost_while_it_is_suspended_and_gone_when_it_stops(tmp_path: Path) -> None:
    with world(tmp_path, workers=2) as made:
        client, first, second = made.client, made.workers[0], made.workers[1]
        eventually(lambda: state_of(client, "w1@test") is WorkerState.RUNNING, "w1 runs")
        eventually(lambda: state_of(client, "w2@test") is WorkerState.RUNNING, "w2 runs")
        eventually(lambda: client.workers()[0].accounts, "w1 has published its book")
        (view, _) = client.workers()
        assert (view.host, view.pid, view.slots, view.busy) == (socket.gethostname(), first.process.pid, 256, 0)
        assert list(view.accounts) == sorted(made.client.accounts())
        assert abs(view.clock_ahead) < 30
        assert (health(made.server.url).returncode, health(made.server.url, "w1").returncode) == (0, 0)
        assert table(made)[1].split()[:2] == ["w1@test", socket.gethostname()[:24]]

        first.suspend()
        silence(made.redis, "w1@test", 31)
        assert state_of(client, "w1@test") is WorkerState.LOST
        unwell = health(made.server.url, "w1")
        assert unwell.returncode == 1
        assert unwell.stderr.startswith("streamstop: w1@test is lost: no sign of life for ")
        assert health(made.server.url, "w2").returncode == 0
        assert health(made.server.url).returncode == 1
        eventually(lambda: ("worker_lost", "w1@test") in events_of(made.redis), "w2 notes that w1 is lost")
        assert [line for line in table(made) if line.startswith("w1@test is lost: no sign of life for ")]

        first.signal(signal.SIGCONT)
        eventually(lambda: state_of(client, "w1@test") is WorkerState.RUNNING, "w1 is back")
        assert health(made.server.url).returncode == 0

        assert first.stop() == 0
        assert state_of(client, "w1@test") is None
        second.kill()
        silence(made.redis, "w2@test", 31)
        assert health(made.server.url).returncode == 1
        began, lost, back = ("worker_started", "w1@test"), ("worker_lost", "w1@test"), ("worker_started", "w1@test")
        noted = [event for event in events_of(made.redis) if event[1] == "w1@test"]
        assert noted == [began, lost, back, ("worker_stopped", "w1@test")]


@pytest.mark.long
def test_workers_whose_files_differ_are_named_until_one_reads_the_file_again(tmp_path: Path) -> None:
    with world(tmp_path, limits={"live.StopMPUTask": 8}) as made:
        made.write_accounts(DEFAULT_ACCOUNTS[:1], {"live.StopMPUTask": 4})
        made.start_worker()
        limits = {"w1@test": 8.0, "w2@test": 4.0}
        expected = [(ALIYUN, "live.StopMPUTask", limits)]

        def differences() -> list[tuple[str, str, Mapping[str, float]]]:
            views = [view for view in made.client.workers() if view.name == "w1@test"]
            return [(d.account, d.operation, d.limits) for view in views for d in view.differences]

        eventually(lambda: differences() == expected, lambda: f"the difference: {differences()}")
        assert f"  {ALIYUN} live.StopMPUTask: 8 in w1@test, 4 in w2@test" in table(made)
        for running in made.workers:
            running.await_line("workers disagree about limits")
            (line,) = [line for line in running.lines() if line["event"] == "workers disagree about limits"]
            assert line["limits"] == [f"{ALIYUN} live.StopMPUTask: 8 in w1@test, 4 in w2@test"]
        made.workers[0].signal(signal.SIGHUP)
        eventually(lambda: differences() == [], lambda: f"no difference: {differences()}")


@pytest.mark.parametrize("suspended", ["streamstop-loop", "celery", "streamstop-sweep"])
@pytest.mark.long
def test_a_worker_of_which_one_thread_hangs_is_stuck(suspended: str, tmp_path: Path) -> None:
    """A debugger stops one thread only; here the thread itself waits, by a module that the worker loads."""
    hanging = tmp_path / "hanging.py"
    hanging.write_text(_HANGS)
    parts = {
        "streamstop-loop": "the event loop has not answered",
        "celery": "Celery's thread has not answered",
        "streamstop-sweep": "the sweep has not answered",
    }
    environ = {"HANG": suspended, "HANG_WHEN": str(tmp_path / "now"), "PYTHONPATH": _with(tmp_path)}
    with world(tmp_path, workers=0, environ=environ) as made:
        made.start_worker("--include", "hanging")
        eventually(lambda: state_of(made.client, "w1@test") is WorkerState.RUNNING, "w1 runs")
        (tmp_path / "now").touch()
        # On a busy machine a sign of life may name a thread that answers late; all that follow name the one that hangs.
        eventually(lambda: problem_of(made.client).startswith(parts[suspended]), lambda: problem_of(made.client))
        assert state_of(made.client, "w1@test") is WorkerState.STUCK
        eventually(lambda: is_unwell(made, parts[suspended]), "the health check says so")
        made.workers[0].kill()


#: Patience is 2 s there, so that the test need not wait for half a minute: ages are multiplied.
_HANGS = """
import os, threading, time
from pathlib import Path
from typing import Any
from streamstop_worker.upkeep import heartbeat, sweep
from streamstop_worker.celery_parts.pool import EventLoopPool

when = Path(os.environ["HANG_WHEN"])
sign = heartbeat.Heartbeat._sign

def hang():
    while when.exists():
        time.sleep(0.1)

def faster(self):
    found = sign(self)
    if when.exists():
        pings = self._vitals.pings
        if os.environ["HANG"] == "streamstop-loop":
            pings["the event loop"]._run_there(hang)
        elif os.environ["HANG"] == "celery":
            pings["Celery's thread"]._run_there(hang)
        found = found.model_copy(update={"answered": {part: age * 6 for part, age in found.answered.items()}})
    return found

publish = sweep.Sweeper.sweep
def sweeping(self):
    if os.environ["HANG"] == "streamstop-sweep":
        hang()
    publish(self)

sweep.Sweeper.sweep = sweeping
heartbeat.Heartbeat._sign = faster
"""


def _with(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def test_a_worker_of_another_database_or_another_machine_is_none_of_this_one(
    redis_url: str,
) -> None:
    view = worker_view("w1@h")
    missing = f"no worker of this machine ({socket.gethostname()}) shows signs of life in this database"
    unwell = health(redis_url)
    assert (unwell.returncode, unwell.stderr.strip()) == (1, f"streamstop: {missing}")
    assert list(find_problems([view], "another")) == [missing.replace(socket.gethostname(), "another")]
    assert list(find_problems([view], view.host)) == []


def test_a_node_is_named_with_or_without_its_host() -> None:
    workers = [worker_view("w1@h"), worker_view("w2@h", state=WorkerState.STARTING)]
    assert list(find_problems(workers, "h", "w1")) == []
    assert list(find_problems(workers, "h", "w1@h")) == []
    assert list(find_problems(workers, "h", "w2@h")) == ["w2@h has not looked for jobs yet"]
    assert list(find_problems(workers, "h")) == ["w2@h has not looked for jobs yet"]
    assert list(find_problems(workers, "h", "w3")) == [
        "no worker 'w3' of this machine (h) shows signs of life in this database"
    ]


@pytest.mark.parametrize("host", ["worker-7f9c", "a host\nwith spaces", "höst"])
def test_any_name_of_a_machine_is_a_name_that_redis_takes(
    host: str, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers give their connections this name, for people who read CLIENT LIST."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert real_redis.client_setname(client_name())
    assert real_redis.client_getname() == client_name()


def test_without_redis_a_worker_is_not_healthy_and_the_reason_is_one_line_without_a_password() -> None:
    unhealthy = health("redis://:s3cret@127.0.0.1:1/0")
    assert unhealthy.returncode == 1
    assert "Redis did not answer" in unhealthy.stderr
    assert len(unhealthy.stderr.splitlines()) == 1
    assert "s3cret" not in unhealthy.stderr


@pytest.mark.parametrize("arguments", [["w1", "w2"], ["--help"]])
@pytest.mark.long
def test_other_arguments_are_answered_by_the_usage(arguments: list[str], redis_url: str) -> None:
    unhealthy = health(redis_url, *arguments)
    assert (unhealthy.returncode, unhealthy.stderr.strip()) == (1, "usage: python -m streamstop_worker.health [NODE]")
