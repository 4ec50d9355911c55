"""``make dev``, as a newcomer uses it: the printed commands, Ctrl-C, SIGTERM, and a process that dies."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from streamstop import Client, ShutdownStatus
from streamstop._core.lane import Lane
from streamstop_simulator import SimulatorClient, TaskState
from tests.support.polling import eventually
from tests.support.redis_content import keys_without_ttl
from tests.system.test_demo import assert_nothing_is_left, ending_of, running

pytestmark = pytest.mark.long

DEV = [sys.executable, "-m", "streamstop_simulator.dev"]
FIRST, LAST = "Starting Redis", "Ctrl-C ends"
COMMAND_TIMEOUT_S = 120
SLOW_LANE = Lane("demo-aliyun-1", "live.StopMPUTask")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment that names a Redis that does not run; temporary files are in `tmp_path`."""
    own = {"TMPDIR": str(tmp_path), "STREAMSTOP_REDIS_URL": "redis://127.0.0.1:1/0", "STREAMSTOP_CONCURRENCY": "none"}
    return dict(os.environ) | own


def child(parent: int, title: bytes) -> int:
    """Return the process id of the child of `parent` whose command line contains `title`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the process ended meanwhile
            parent_of_it = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent_of_it == parent and title in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    [pid] = found
    return pid


def test_the_printed_commands_succeed_and_ctrl_c_leaves_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    with running(*DEV, environ=environ, until=LAST) as (process, lines):
        text = "".join(lines)
        [export] = re.findall(r"^    (export STREAMSTOP_REDIS_URL=.*)$", text, re.MULTILINE)
        commands = re.findall(r"^    (streamstop .*)$", text, re.MULTILINE)
        outputs = []
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", f"{export}\n{command}"],
                env={name: value for name, value in environ.items() if not name.startswith("STREAMSTOP_")},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_TIMEOUT_S,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            outputs.append(done.stdout)
        slow_room, stopped_room, stopped_task, task_status, dead_letters, lanes = outputs
        assert "room-slow: closing" in slow_room
        assert "/240" in slow_room
        assert re.search(r"12\b.*\bstopped", stopped_room)
        assert "1 job: 1 stopped" in stopped_task
        assert "running" in task_status
        assert "never-started" in dead_letters
        assert "live.StopMPUTask" in lanes

        [redis_url] = re.findall(r"^  Redis +(\S+)$", text, re.MULTILINE)
        [simulator_url] = re.findall(r"^  simulator +(\S+)", text, re.MULTILINE)
        simulator = SimulatorClient(simulator_url)
        with Client(redis_url) as client, Redis.from_url(redis_url) as redis:
            shutdown = client.room("room-1").shutdown
            assert shutdown is not None
            assert client.shutdown(shutdown).progress().status is ShutdownStatus.DONE
            assert keys_without_ttl(redis) == []
            # The vendor allows what the workers are told, and no more.
            lane = SLOW_LANE.account, SLOW_LANE.operation
            eventually(lambda: lane in simulator.summary().lanes, "a call of the slow lane")
            [slow_lane] = [view for view in client.lanes() if view.lane == SLOW_LANE]
            assert slow_lane.limit == simulator.summary().lanes[lane].limit == 2
        assert len(simulator.tasks()) == 320
        assert simulator.tasks(state=TaskState.RUNNING)

        process.send_signal(signal.SIGINT)
        code, output = ending_of(process, lines)
    assert code == 0, output
    assert "Traceback" not in output
    assert_nothing_is_left(output, environ)


@pytest.mark.parametrize(
    ("options", "until"),
    [([], FIRST), ([], LAST), (["--fakeredis"], LAST)],
    ids=["while it starts", "when it runs", "with fakeredis"],
)
def test_sigterm_ends_it(environ: dict[str, str], options: list[str], until: str) -> None:
    with running(*DEV, *options, environ=environ, until=until) as (process, lines):
        process.send_signal(signal.SIGTERM)
        code, output = ending_of(process, lines)
    assert code == 0, output
    assert "Traceback" not in output
    assert list(Path(environ["TMPDIR"]).glob("streamstop-*")) == []
    if until == LAST:
        assert_nothing_is_left(output, environ)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc")
@pytest.mark.parametrize(
    ("title", "number", "message"),
    [
        (b"worker-2@", signal.SIGKILL, "worker-2 was killed by SIGKILL."),
        (b"redis-server", signal.SIGTERM, "redis-server ended with exit code 0."),
    ],
    ids=["worker", "redis"],
)
def test_a_process_that_ends_is_named_with_its_last_lines(
    environ: dict[str, str], title: bytes, number: signal.Signals, message: str
) -> None:
    with running(*DEV, environ=environ, until=LAST) as (process, lines):
        os.kill(child(process.pid, title), number)
        code, output = ending_of(process, lines)
    assert code == 1, output
    assert message in output
    assert "wrote last:\n" in output
    assert "(nothing)" not in output
    assert "Traceback" not in output
    assert_nothing_is_left(output, environ)
