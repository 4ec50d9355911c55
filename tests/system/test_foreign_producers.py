"""Jobs of producers without streamstop: plain Celery's ``send_task``, and messages written by hand."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from streamstop import Result
from streamstop._core.lane import Lane
from tests.support.celery_tools import answer, plain_app
from tests.support.polling import TIMEOUT_S
from tests.support.world import TENCENT, World, world

pytestmark = pytest.mark.long

LANE = Lane(TENCENT, "trtc.StopStreamIngest")

#: What another team runs; nothing of ours can be imported in it.
SCRIPT = """
import json, sys
sys.modules["streamstop"] = None
from celery import Celery

url, queue, command = sys.argv[1:]
app = Celery("theirs", broker=url, backend=url)
result = app.send_task("streamstop.execute", args=[json.loads(command)], queue=queue)
try:
    told = {"result": result.get(timeout=60)}
except Exception as error:
    told = {"raised": type(error).__name__, "why": str(error)}
print(json.dumps({"id": result.id, "state": result.state, **told}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        made.simulator.settings(auto_start=True)
        made.await_account(TENCENT)
        yield made


def send(made: World, command: object) -> dict[str, Any]:
    """Return what plain Celery was told of a command that it sent."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, made.server.url, LANE.queue, json.dumps(command)],
        env=environ,
        cwd=made.folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
    )
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


def command_of(task: str) -> dict[str, Any]:
    """Return the command that stops a task."""
    return {"v": 1, "operation": LANE.operation, "account": TENCENT, "params": {"SdkAppId": 1, "TaskId": task}}


def test_plain_celery_sends_a_command_and_gets_its_outcome(made: World) -> None:
    reply = send(made, command_of("theirs"))
    assert (reply["state"], reply["result"]["result"]) == ("SUCCESS", "stopped")
    assert (reply["result"]["operation"], reply["result"]["account"]) == (LANE.operation, TENCENT)
    assert made.client.job(reply["id"]).outcome(TIMEOUT_S).result is Result.STOPPED


def test_plain_celery_hears_of_a_failure_as_an_exception(made: World) -> None:
    wrong = command_of("theirs, wrong")
    made.simulator.add_fault("code", code="AuthFailure.SignatureFailure", task=wrong["params"])
    reply = send(made, wrong)
    assert (reply["state"], reply["raised"]) == ("FAILURE", "JobFailed")
    assert "AuthFailure.SignatureFailure" in reply["why"]


def test_plain_celery_hears_that_a_command_was_refused(made: World) -> None:
    reply = send(made, {"operation": LANE.operation, "account": TENCENT, "params": {}})
    assert (reply["state"], reply["raised"]) == ("FAILURE", "JobFailed")
    assert "SdkAppId" in reply["why"]


@pytest.mark.parametrize("tells_of_it", [False, True])
@pytest.mark.parametrize("shadow", [None, "another name", {"no": "name"}])
def test_a_message_that_was_written_by_hand_is_served(made: World, tells_of_it: bool, shadow: object) -> None:
    job_id = f"by-hand-{tells_of_it}-{type(shadow).__name__}"
    body = json.dumps([[command_of(job_id)], {}, {}])
    message = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "streamstop.execute", "id": job_id, "shadow": shadow},
        "properties": {"delivery_tag": job_id, "delivery_info": {"routing_key": LANE.queue}},
    }
    with Redis.from_url(made.server.url) as redis:
        redis.lpush(LANE.queue, json.dumps(message))
        if tells_of_it:
            redis.sadd("streamstop.arrivals", LANE.name)
            redis.lpush("streamstop.wake", 1)
            redis.ltrim("streamstop.wake", 0, 0)
    assert made.client.job(job_id).outcome(TIMEOUT_S).result is Result.STOPPED
    with plain_app(made) as app:
        assert set(answer(app, "stats")["total"]) == {LANE.name}
    assert "Traceback" not in made.workers[0].text()
