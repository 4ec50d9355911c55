"""``streamstop room`` as a person or a script runs it: the real executable, a real worker, simulated vendors."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from streamstop import Client, Command, Result, ShutdownStatus
from streamstop.operations import Operation, StopMPUTask, StopPublishCdnStream
from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.executable import EXECUTABLE, environ, objects, run, stop_line
from tests.support.polling import eventually
from tests.support.world import ALIYUN, TENCENT, World

TIMEOUT = 60


@pytest.fixture(scope="module")
def served_world(shared_world: World) -> World:
    """Return the module's world once producers know its accounts."""
    shared_world.await_account(ALIYUN)
    return shared_world


@pytest.fixture
def url(served_world: World) -> str:
    return served_world.server.url


def start(world: World, *tasks: str) -> None:
    world.simulator.start_tasks(ALIYUN, [StopMPUTask(app_id="app", task_id=task) for task in tasks])


def slow_room(world: World, name: str, count: int) -> None:
    """Register tasks that a vendor takes seconds to stop."""
    tasks: list[Operation] = [StopPublishCdnStream(sdk_app_id=1, task_id=f"{name}-{n}") for n in range(count)]
    world.simulator.start_tasks(TENCENT, tasks)
    world.client.register_many(name, [Command(operation=task, account=TENCENT) for task in tasks])


@contextmanager
def held(world: World) -> Iterator[Callable[[], object]]:
    """Keep the shutdowns of slow rooms open until the given function is called, or the block ends."""
    resume = partial(world.client.resume, TENCENT)
    world.client.pause(TENCENT)
    try:
        yield resume
    finally:
        resume()


def stopping_and_watching(url: str, room: str) -> "subprocess.Popen[str]":
    """Start the command that stops a room and watches its shutdown, without a terminal."""
    return subprocess.Popen(
        [EXECUTABLE, "room", "stop", room, "--watch"],
        env=environ(url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def await_watcher(redis: Redis) -> None:
    """Return when somebody watches a shutdown."""
    eventually(lambda: redis.pubsub_channels("streamstop.shutdown.*"), "a subscription to a shutdown")


def test_a_room_is_registered_stopped_and_shown(served_world: World, url: str, tmp_path: Path) -> None:
    start(served_world, "one", "two", "three", "passed")
    words = ["live.StopMPUTask", "--account", ALIYUN, "AppId=app"]
    assert run(url, "room", "register", "whole", *words, "TaskId=one").stdout == "1 task registered in whole\n"
    lines = stop_line("one") + stop_line("two") + stop_line("three") + stop_line("gone")
    assert objects(run(url, "room", "register", "whole", "--from", "-", "--json", stdin=lines).stdout) == [
        {"room": "whole", "tasks": 4, "shutdown": None}
    ]
    taken = run(url, "room", "unregister", "whole", "--from", "-", stdin=stop_line("gone") + stop_line("never"))
    assert taken.stdout == "1 task removed from whole; 1 task had not been registered\n"
    assert run(url, "room", "show", "whole").stdout.splitlines()[1:] == [
        "registered  3 tasks",
        "shutdown    none: the room was never stopped",
    ]

    more = tmp_path / "more.jsonl"
    more.write_text(stop_line("two") + stop_line("passed"))
    done = run(url, "room", "stop", "whole", "--from", more, "--wait", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("whole: done, 4 of 4 tasks ended, 4 stopped, took ")
    (shown,) = objects(run(url, "room", "show", "whole", "--json").stdout)
    assert (shown["registered"], shown["shutdown"]["status"], shown["shutdown"]["pending"]) == (0, "done", 0)
    listed = run(url, "room", "show", "whole", "--outcomes").stdout.splitlines()
    assert [one.split()[0] for one in listed] == ["stopped"] * 4 + ["whole:"]
    printed = objects(run(url, "room", "show", "whole", "--outcomes", "--json").stdout)
    assert [one["result"] for one in printed] == ["stopped"] * 4

    start(served_world, "late")
    late = run(url, "room", "register", "whole", *words, "TaskId=late")
    assert "the room is closing or has just closed: stopped at once" in late.stderr
    assert run(url, "room", "show", "whole", "--watch").returncode == 0
    assert run(url, "room", "reopen", "whole").stdout == "whole is open\n"


@pytest.mark.long
def test_a_room_with_nothing_in_it_is_done_at_once(url: str) -> None:
    misspelt = run(url, "room", "stop", "nobody's", "--wait", "0", "--json")
    assert (misspelt.returncode, misspelt.stdout) == (2, "")
    assert misspelt.stderr.endswith(
        "nothing was stopped: nothing is registered in nobody's; to close it anyway, give --allow-empty\n"
    )
    assert run(url, "room", "show", "nobody's", "--watch").returncode == 1, "it has no shutdown"
    done = run(url, "room", "stop", "nobody's", "--allow-empty", "--wait", "0", "--json")
    assert done.returncode == 0
    assert run(url, "room", "stop", "nobody's").returncode == 0, "a room that had a shutdown is known"
    (printed,) = objects(done.stdout)
    assert (printed["status"], printed["total"]) == ("done", 0)


@pytest.mark.long
def test_a_mistyped_room_is_not_taken_for_one_that_was_stopped(url: str) -> None:
    assert (
        run(url, "room", "stop", "mistyped", "--allow-empty").stderr
        == "no task was registered in mistyped: nothing was stopped\n"
    )
    waited = run(url, "room", "stop", "mistyped", "--wait", "60")
    assert waited.stdout.startswith("mistyped: done, 0 of 0 tasks ended, no task was registered, took ")


def test_without_waiting_the_shutdowns_id_is_printed(served_world: World, url: str) -> None:
    slow_room(served_world, "at-once", 1)
    done = run(url, "room", "stop", "at-once")
    assert (done.returncode, done.stdout) == (0, f"{served_world.client.room('at-once').shutdown}\n")
    assert "watch it with `streamstop room show at-once --watch`" in done.stderr


@pytest.mark.long
def test_without_a_terminal_watching_writes_plain_lines(served_world: World, url: str) -> None:
    slow_room(served_world, "plain", 25)
    with (
        held(served_world) as resume,
        stopping_and_watching(url, "plain") as watching,
    ):
        assert watching.stdout is not None
        first = watching.stdout.readline()
        resume()
        rest, stderr = watching.communicate(timeout=TIMEOUT)
    assert (watching.returncode, stderr) == (0, "")
    lines = [first, *rest.splitlines()]
    assert len(lines) >= 2
    assert all(one.startswith("plain: closing, ") for one in lines[:-1])
    assert lines[-1].startswith("plain: done, 25 of 25 tasks ended, 25 stopped, took ")
    assert "\x1b" not in first + rest


def test_watching_for_programs_is_an_object_a_change(served_world: World, url: str) -> None:
    slow_room(served_world, "json", 5)
    printed = objects(run(url, "room", "stop", "json", "--watch", "--json").stdout)
    assert [one["ended"] for one in printed] == sorted(one["ended"] for one in printed)
    assert (printed[-1]["status"], printed[-1]["results"]) == ("done", {"stopped": 5})


@pytest.mark.long
def test_a_terminal_is_redrawn_in_place_and_left_as_it_was(served_world: World, url: str) -> None:
    slow_room(served_world, "terminal", 8)
    leader, follower = pty.openpty()
    with (
        held(served_world) as resume,
        subprocess.Popen(
            [EXECUTABLE, "room", "stop", "terminal", "--watch"],
            env=environ(url) | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            stdout=follower,
            stderr=subprocess.PIPE,
        ) as watching,
    ):
        os.close(follower)
        drawn = b""
        try:
            while b"\x1b[J" not in drawn:  # the first picture is not complete
                drawn += os.read(leader, 65536)
            resume()
            while chunk := os.read(leader, 65536):
                drawn += chunk
        except OSError:  # what Linux answers once the other side is closed
            pass
        os.close(leader)
        assert watching.wait(timeout=TIMEOUT) == 0
    text = drawn.decode()
    assert "A\r" in text
    assert text.startswith("\x1b[?25l")
    assert text.endswith("\x1b[?7h\x1b[?25h")
    last = text.rpartition("A\r")[2]
    assert "trtc.StopPublishCdnStream" in last
    assert "8/8" in last


@pytest.mark.long
def test_tasks_that_end_otherwise_exit_1_and_are_listed(served_world: World, url: str) -> None:
    start(served_world, "known")
    done = run(url, "room", "stop", "odd", "--from", "-", "--wait", "60", stdin=stop_line("known") + stop_line("no"))
    assert done.returncode == 1
    assert done.stdout.startswith("odd: ended, needs attention, 2 of 2 tasks ended, 1 stopped, 1 not_found")
    assert done.stderr == ("Error: not every task is known to be stopped; see `streamstop room show odd --outcomes`\n")
    listed = run(url, "room", "show", "odd", "--outcomes").stdout.splitlines()
    assert "InvalidTask.NotFound: " in listed[1]
    assert run(url, "room", "show", "odd", "--watch").returncode == 1


@pytest.mark.long
def test_ctrl_c_leaves_the_watching_and_the_shutdown_goes_on(served_world: World, url: str) -> None:
    slow_room(served_world, "left", 30)
    with (
        held(served_world),
        stopping_and_watching(url, "left") as watching,
    ):
        try:
            await_watcher(served_world.redis)
        finally:
            watching.send_signal(signal.SIGINT)
        _, stderr = watching.communicate(timeout=TIMEOUT)
    assert watching.returncode == 130
    back = "streamstop room show left --watch"
    assert stderr == f"Error: interrupted: the shutdown continues; watch it with `{back}`\n"
    progress = served_world.client.shutdown(str(served_world.client.room("left").shutdown)).wait(TIMEOUT)
    assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.STOPPED: 30})
    assert run(url, *back.split()[1:]).returncode == 0


@pytest.mark.long
def test_a_shutdown_that_does_not_end_in_time_exits_3_and_can_be_cancelled(served_world: World, url: str) -> None:
    slow_room(served_world, "long", 20)
    with held(served_world):
        done = run(url, "room", "stop", "long", "--wait", "0.1")
        assert done.returncode == 3
        assert done.stderr.startswith("Error: some tasks did not end in time: the shutdown continues; ")
        assert run(url, "room", "reopen", "long").returncode == 1
        assert run(url, "room", "cancel", "long").returncode == 0
        assert run(url, "room", "show", "long", "--watch").returncode == 1
    again = run(url, "room", "cancel", "long")
    assert (again.returncode, again.stderr) == (1, "Error: not cancelled: long has no open shutdown\n")


def test_an_account_that_no_worker_has_is_told_with_its_line_and_nothing_is_stopped(
    served_world: World, url: str
) -> None:
    slow_room(served_world, "refused", 3)
    done = run(url, "room", "stop", "refused", "--from", "-", stdin=stop_line("a") + stop_line("b", "demo-nobody"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "Error: nothing was stopped: <stdin> is not valid:"
    assert done.stderr.splitlines()[1].startswith("line 2: no running worker has account 'demo-nobody'")
    assert served_world.client.room("refused").shutdown is None
    assert len(served_world.client.room("refused").tasks) == 3


# From here on without a worker.


@pytest.mark.long
def test_bad_lines_exit_2_and_nothing_reaches_the_queue(redis_url: str, real_redis: Redis) -> None:
    bad = stop_line("good") + json.dumps({"operation": "live.StopMPUTask", "account": ALIYUN, "params": {}}) + "\n"
    for command in ("register", "stop"):
        done = run(redis_url, "room", command, "r", "--from", "-", stdin=bad)
        assert (done.returncode, done.stdout) == (2, "")
        assert "line 2: live.StopMPUTask: AppId is required" in done.stderr
    assert real_redis.keys() == []


@pytest.mark.long
def test_a_shutdown_whose_record_is_gone_is_shown_as_such(redis_url: str, client: Client, real_redis: Redis) -> None:
    shutdown = client.stop_room("old")
    real_redis.delete(f"streamstop.shutdown.{shutdown.id}")
    assert f"{shutdown.id}, over seven days ago" in run(redis_url, "room", "show", "old").stdout
    assert run(redis_url, "room", "show", "old", "--watch").returncode == 1


def test_without_redis_it_exits_4_and_never_prints_the_url() -> None:
    port = free_port()
    done = run(f"redis://:hush@127.0.0.1:{port}/0", "room", "stop", "r", "--watch")
    assert done.returncode == 4
    assert done.stderr == (
        f"Error: Redis did not answer (connection refused at 127.0.0.1:{port}, database 0): "
        "the room could not be looked up; nothing was stopped\n"
    )
