"""What every ``--json`` prints on real parts fits the JSON Schemas of the reference."""

from collections.abc import Sequence
from typing import Any

import pytest

from streamstop.operations import StopMPUTask
from tests.support.executable import objects, run
from tests.support.json_schemas import LINES, problems
from tests.support.polling import eventually
from tests.support.world import ALIYUN, World

pytestmark = pytest.mark.long

STOP = "live.StopMPUTask"


class Printed:
    """Runs commands with ``--json``, checks each line, and keeps which schemas have been used."""

    def __init__(self, made: World) -> None:
        self._url = made.server.url
        self.used: set[str] = set()

    def __call__(self, name: str, *words: str, codes: Sequence[int] = (0,)) -> list[dict[str, Any]]:
        done = run(self._url, *words, "--json")
        assert done.returncode in codes, done.stderr
        lines = objects(done.stdout)
        assert lines, f"{words} printed nothing"
        assert [problem for line in lines for problem in problems(name, line)] == []
        self.used.add(name)
        return lines


def test_every_line_that_a_command_prints_fits_its_schema(shared_world: World) -> None:
    made, printed = shared_world, Printed(shared_world)
    made.simulator.start_tasks(ALIYUN, [StopMPUTask(app_id="a", task_id=task) for task in ("t-1", "r-1")])
    stop = [STOP, "--account", ALIYUN, "AppId=a"]
    (job,) = printed("stop", "stop", *stop, "TaskId=t-1", "--wait", "60")
    assert job["outcome"]["result"] == "stopped"
    printed("stop", "stop", *stop, "TaskId=t-2")
    printed("stop", "status", "live.GetMPUTaskStatus", "--account", ALIYUN, "AppId=a", "TaskId=t-1", "--wait", "60")
    printed("job", "job", job["job_id"])
    (letter,) = eventually(lambda: list(made.client.dead_letters.letters()), "a task that is unknown is a dead letter")
    printed("dead-list", "dead", "list")
    printed("dead-show", "dead", "show", letter.id)
    printed("errors", "errors")

    (paused,) = printed("pause", "pause", ALIYUN, "--for", "1h", "--reason", "a test")
    assert paused["kind"] == "pause"
    printed("limit", "limit", "set", ALIYUN, STOP, "2", "--for", "1h")
    printed("limit", "limit", "list")
    open_job = made.client.enqueue(StopMPUTask(app_id="a", task_id="t-3"), account=ALIYUN)
    printed("job", "job", open_job.id)
    printed("lanes", "lanes", "--all")
    printed("find", "find", "TaskId=t-1")
    printed("find", "find", "TaskId=t-3")
    printed("drain", "drain", ALIYUN, "--dry-run")
    printed("drain", "drain", ALIYUN, "--yes")
    printed("pause", "pause")
    made.client.resume(ALIYUN)
    made.client.clear_limit(ALIYUN, STOP)

    printed("room-register", "room", "register", "room-1", *stop, "TaskId=r-1")
    printed("room-register", "room", "register", "room-1", *stop, "TaskId=r-2")
    printed("find", "find", "TaskId=r-1")
    printed("room-unregister", "room", "unregister", "room-1", *stop, "TaskId=r-2")
    printed("room-show", "room", "show", "room-1")
    printed("room-wait", "room", "stop", "room-1", "--wait", "60")
    printed("room-show", "room", "show", "room-1")
    printed("outcome", "room", "show", "room-1", "--outcomes")
    printed("room-stop", "room", "stop", "room-1")

    printed("dead-requeue", "dead", "requeue", letter.id, "--wait", "60", codes=(0, 1))
    (again,) = eventually(lambda: list(made.client.dead_letters.letters()), "it is a dead letter again")
    printed("dead-drop", "dead", "drop", again.id)
    printed("events", "events")
    printed("workers", "workers")
    printed("doctor", "doctor", "--account", ALIYUN, codes=(0, 1))
    printed("operations", "operations")
    assert LINES.keys() - printed.used == {"progress"}, "a callback's body is no line of a command"
