"""``make demo``, run to its end and interrupted: it leaves nothing running."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import click
import pytest
from redis import Redis

from streamstop import Client
from streamstop.operations import StopMPUTask
from tests.support.polling import eventually
from tests.support.redis_content import everything_in

DEMO = [sys.executable, "-m", "streamstop_simulator.demo"]
#: Its first and its last line before stops are on their way, and the end of the line that names its Redis.
FIRST, LAST, OWN_REDIS = "  Redis", "  producer", "for this run only"
WITHIN_S = 120
#: Starts a command; see `running`.
Start = Callable[..., AbstractContextManager[tuple[subprocess.Popen[str], list[str]]]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which everything that the demo makes is in `tmp_path`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSTOP_")}
    return kept | {"TMPDIR": str(tmp_path)}


def run(*options: str, environ: dict[str, str]) -> tuple[int, str]:
    """Run the demo to its end; return its exit code and what it wrote."""
    with subprocess.Popen(
        [*DEMO, *options], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        return ending_of(process, [])


@contextmanager
def running(*command: str, environ: dict[str, str], until: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run a command, and go on when it has written a line with `until`; the lines so far are given."""
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            read_until(until, process, lines)
            yield process, lines
        finally:
            process.kill()


def read_until(text: str, process: subprocess.Popen[str], lines: list[str]) -> None:
    """Add lines that the process writes to `lines`, up to one with `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"no line with {text!r}:\n{''.join(lines)}")


@contextmanager
def at_work(*command: str, environ: dict[str, str], until: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the demo until it writes `until`. One vendor's lane is paused, so that the demo is at work for a minute."""
    with running(*command, environ=environ, until=OWN_REDIS) as (process, lines):
        [port] = re.findall(r"127\.0\.0\.1:(\d+)", click.unstyle(lines[-1]))
        with Client(f"redis://127.0.0.1:{port}/0", timeout=WITHIN_S) as client:
            client.pause("vendor:tencent")
        read_until(until, process, lines)
        yield process, lines


def ending_of(process: subprocess.Popen[str], lines: list[str]) -> tuple[int, str]:
    """Wait until the process has ended; return its exit code and everything that it wrote."""
    try:
        rest, _ = process.communicate(timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, "".join([*lines, rest])


def assert_nothing_is_left(output: str, environ: dict[str, str], *, folder: bool = True) -> None:
    """Assert that no process of the demo runs, none listens, and its folder is gone."""
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", click.unstyle(output))}
    assert ports

    def left() -> list[object]:
        return [*processes_of(environ), *filter(listens, ports)]

    # After SIGKILL the kernel may still be at it.
    eventually(lambda: not left(), lambda: f"the end of processes or of ports: {left()}")
    if folder:
        assert list(Path(environ["TMPDIR"]).glob("streamstop-*")) == []


def listens(port: int) -> bool:
    """Return whether something listens on `port` of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_of(environ: dict[str, str]) -> list[str]:
    """Return the command lines of the processes with the test's TMPDIR in their environment, on Linux.

    A redis-server is none of them, for it hides its environment behind its title; its port tells of it.
    """
    mark = f"TMPDIR={environ['TMPDIR']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


@pytest.mark.paced
def test_the_demo_stops_every_task_and_no_call_is_over_a_limit(environ: dict[str, str]) -> None:
    code, output = run(environ=environ)
    assert code == 0, output
    assert "\ncalls over a limit: 0\n" in output
    assert "Every stop ended as expected" in output
    assert "rests" in output
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 80
    [together] = [line.split() for line in output.splitlines() if line.startswith("together")]
    stopped, already_stopped, not_found, calls, errors, throttled = map(int, together[1:7])
    assert stopped + already_stopped + not_found == 216
    assert already_stopped
    assert not_found
    assert errors
    assert throttled >= 2
    assert calls == 216 + errors + throttled
    assert_nothing_is_left(output, environ)


@pytest.mark.parametrize(
    ("number", "code", "start", "until"),
    [
        (signal.SIGINT, 130, at_work, LAST),
        (signal.SIGTERM, 143, at_work, LAST),
        (signal.SIGINT, 130, running, FIRST),
    ],
    ids=["Ctrl-C at work", "SIGTERM at work", "Ctrl-C while it starts"],
)
@pytest.mark.long
def test_an_interrupted_demo_leaves_nothing_running(
    number: signal.Signals, code: int, start: Start, until: str, environ: dict[str, str]
) -> None:
    with start(*DEMO, environ=environ, until=until) as (process, lines):
        process.send_signal(number)
        process.send_signal(number)  # somebody is impatient
        ended, output = ending_of(process, lines)
    assert ended == code, output
    assert "Interrupted" in output
    assert "Traceback" not in output
    assert_nothing_is_left(output, environ)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent is gone")
@pytest.mark.long
def test_not_even_a_killed_demo_leaves_a_process(environ: dict[str, str]) -> None:
    with at_work(*DEMO, environ=environ, until=LAST) as (process, lines):
        assert len(processes_of(environ)) == 4  # the demo, the simulator, two workers
        process.kill()
        _, output = ending_of(process, lines)
    assert_nothing_is_left(output, environ, folder=False)


@pytest.mark.long
def test_on_a_terminal_the_progress_is_redrawn_and_ctrl_c_ends_it(environ: dict[str, str]) -> None:
    terminal = [sys.executable, "-c", f"import os, pty; os._exit(os.waitstatus_to_exitcode(pty.spawn({DEMO!r})))"]
    environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "40"}
    with at_work(*terminal, environ=environ, until="█") as (process, lines):
        assert process.stdin is not None
        process.stdin.write("\x03")
        process.stdin.flush()
        code, output = ending_of(process, lines)
    assert code == 130, output
    assert "\x1b[?25l" in output
    assert "\x1b[?25h" in output.rpartition("\x1b[?25l")[2]
    assert "█" in output
    assert "Interrupted" in output
    assert_nothing_is_left(output, environ)


@pytest.mark.paced  # a demo fails if a call is over a limit
@pytest.mark.long
def test_fakeredis_will_do_where_there_is_no_redis_server(environ: dict[str, str]) -> None:
    code, output = run("--quick", "--fakeredis", environ=environ)
    assert code == 0, output
    assert "fakeredis on 127.0.0.1" in output
    assert_nothing_is_left(output, environ)


@pytest.mark.paced
@pytest.mark.long
def test_a_redis_that_is_named_is_used_and_left_as_it_was(
    environ: dict[str, str], redis_url: str, real_redis: Redis
) -> None:
    code, output = run("--quick", environ=environ | {"STREAMSTOP_REDIS_URL": redis_url})
    assert code == 0, output
    assert f"{redis_url}, as STREAMSTOP_REDIS_URL says" in output
    assert b"demo-aliyun" not in everything_in(real_redis)
    assert [key for key in real_redis.scan_iter() if not key.startswith(b"_kombu.binding")] == []


@pytest.mark.long
def test_a_redis_that_somebody_uses_is_left_alone(
    environ: dict[str, str], redis_url: str, client: Client, real_redis: Redis
) -> None:
    client.enqueue(StopMPUTask(app_id="app", task_id="task"), account="live-cn")
    before = everything_in(real_redis)
    code, output = run("--quick", environ=environ | {"STREAMSTOP_REDIS_URL": redis_url})
    assert code == 1
    assert "live-cn" in output
    assert "Traceback" not in output
    assert everything_in(real_redis) == before


def test_a_redis_that_does_not_answer_is_one_sentence(environ: dict[str, str]) -> None:
    code, output = run(environ=environ | {"STREAMSTOP_REDIS_URL": "redis://:secret@127.0.0.1:1/0"})
    assert code == 1
    assert "Redis did not answer" in output
    assert "secret" not in output
    assert "Traceback" not in output


@pytest.mark.long
def test_a_worker_that_cannot_start_is_shown_by_its_last_lines(environ: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\nif 'celery' in sys.orig_argv:\n    os.write(2, b'no worker today')\n    os._exit(3)\n"
    )
    code, output = run(environ=environ | {"PYTHONPATH": str(broken)})
    assert code == 1
    assert "worker-1 ended with exit code 3" in output
    assert "no worker today" in output
    assert "Traceback" not in output
    assert_nothing_is_left(output, environ)
