"""A service in another language: Node's fetch enqueues, waits, stops a room, and follows it over two cuts."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamstop.operations import StopMPUTask
from streamstop_simulator import TaskState
from tests.support.http_service import HttpService, http_service
from tests.support.world import ALIYUN, World

pytestmark = pytest.mark.long

CLIENT = Path(__file__).parents[1] / "support" / "http_client.mjs"
ROOM = "直播间/42 100%"
TASKS = [StopMPUTask(app_id="app", task_id=task) for task in ("alone", "relay-1", "relay-2", "relay-3")]


def node() -> str:
    """Return the path of Node; fail where it is missing or too old."""
    found = shutil.which("node") or shutil.which("node", path="/usr/bin")
    if found is None:
        pytest.fail("node is not installed: apt-get install nodejs (20 or newer)")
    version = subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.fail(f"node {version} is too old: 20 or newer is needed, from Debian 13's nodejs or from nodejs.org")
    return found


def steps(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """Yield what the client says."""
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith("{"):
            pytest.fail(f"the client has failed: {line}{process.stdout.read()}")
        yield json.loads(line)


def again(world: World, service: HttpService) -> Any:
    """Start the service anew where it was, with the same tokens."""
    port = service.url.rpartition(":")[2]
    arguments = ("--tokens", str(service.tokens_file))
    return http_service(world.server.url, world.folder, *arguments, with_tokens=False, port=int(port))


def test_a_client_in_node_sees_the_end_once_over_a_restart_and_a_crash(shared_world: World) -> None:
    world = shared_world
    world.await_account(ALIYUN)
    world.simulator.start_tasks(ALIYUN, TASKS)
    environ = {"PATH": "/usr/bin:/bin"}
    with http_service(world.server.url, world.folder) as service:
        environ["STREAMSTOP_TOKEN"] = service.tokens["everything"]
        command = [node(), str(CLIENT), service.url, ALIYUN, ROOM]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        ) as client:
            try:
                _follow(world, service, client)
            finally:
                client.kill()
    assert {task.state for task in world.simulator.tasks(ALIYUN)} == {TaskState.STOPPED}


def _follow(world: World, service: HttpService, client: "subprocess.Popen[str]") -> None:
    told = steps(client)

    def events() -> list[dict[str, Any]]:
        """Return the events up to the next connection, and that connection."""
        seen = []
        for step in told:
            seen.append(step)
            if step["step"] != "event":
                return seen
        raise AssertionError(f"the client has ended after {seen}")

    enqueued = next(told)
    assert enqueued["ids"][0] == enqueued["ids"][1] == enqueued["location"].rpartition("/")[2]
    assert next(told) == {"step": "job", "result": "stopped"}
    assert next(told) == {"step": "registered"}
    assert len(world.client.room(ROOM).tasks) == 2
    world.client.pause(ALIYUN, reason="so that the room stays open")
    assert client.stdin is not None
    client.stdin.write("go\n")
    client.stdin.flush()
    closing = next(told)
    assert (closing["step"], closing["status"]) == ("closing", 202)
    assert next(told) == {"step": "connected", "status": 200}
    seen = [next(told)]
    assert (seen[0]["type"], seen[0]["status"]) == ("progress", "open")

    service.process.terminate()
    service.process.wait(60)
    with again(world, service) as second:
        *progress, connected = events()
        seen += progress
        assert seen[-1]["type"] == "reconnect", "the process says that it ends"
        assert connected["lastId"] == last_id(seen)
        second.process.kill()
        second.process.wait(60)
        with again(world, service):
            *progress, connected = events()
            seen += progress
            assert connected["lastId"] == last_id(seen)
            world.client.resume(ALIYUN)
            *progress, over = events()
            seen += progress
    ids = [event["id"] for event in seen if "id" in event]
    assert len(ids) == len(set(ids)), "no state is told twice"
    assert [event["type"] for event in seen].count("end") == 1
    assert (seen[-1]["type"], seen[-1]["status"], seen[-1]["ended"]) == ("end", "done", 3)
    assert over == {"step": "over", "results": ["stopped"] * 3}
    assert client.wait(60) == 0


def last_id(seen: list[dict[str, Any]]) -> str:
    return str([event["id"] for event in seen if "id" in event][-1])
