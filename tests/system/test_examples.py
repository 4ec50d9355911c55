"""Each file in ``examples/`` does what it says, as a process, with a real Redis, a worker and the simulator."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamstop_simulator.demo.embedded_redis import free_port
from streamstop_worker.accounts import Account
from tests.support.documentation import ROOT
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import World, world

pytestmark = pytest.mark.long

EXAMPLES = ROOT / "examples"
LIVE_CN = Account("live-cn", "aliyun", "examples-key", "examples-secret")


@pytest.fixture(scope="module")
def examples_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world with a worker that has the account `live-cn`, at a vendor where every task runs."""
    with world(tmp_path_factory.mktemp("examples"), accounts=[LIVE_CN]) as made:
        made.simulator.settings(auto_start=True)
        made.await_account("live-cn")
        yield made


@contextmanager
def serving(made: World, *command: str) -> Iterator[str]:
    """Run a service until the block ends; yield its address. ``{port}`` in `command` is a free port."""
    port = free_port()
    arguments = [argument.format(port=port) for argument in command]
    with subprocess.Popen([sys.executable, *arguments], env=environ(made), cwd=EXAMPLES) as process:
        try:
            eventually(lambda: listens(port) or process.poll() is not None, "the service listens")
            assert process.poll() is None, "the service did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environ(made: World) -> dict[str, str]:
    redis = {"STREAMSTOP_REDIS_URL": made.server.url, "STREAMSTOP_REDIS_TIMEOUT": f"{TIMEOUT_S:g}"}
    return {**os.environ, **redis, "PYTHONDONTWRITEBYTECODE": "1"}


def ask(method: str, url: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def run(made: World, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        input=given,
        env=environ(made),
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def stopped(made: World) -> set[str]:
    return {str(call.params["TaskId"]) for call in made.simulator.calls("live-cn")}


def test_every_example_is_tried() -> None:
    tried = {"fastapi_service", "flask_service", "django_service", "stop_script", "test_closing"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tried


def test_the_fastapi_service_says_how_a_stop_ended(examples_world: World) -> None:
    with serving(examples_world, "-m", "uvicorn", "fastapi_service:app", "--port", "{port}") as url:
        status, answer = ask("POST", f"{url}/relays/fastapi-1/stop")
    assert (status, answer["result"]) == (200, "stopped")
    assert "fastapi-1" in stopped(examples_world)


def test_the_flask_service_closes_a_room(examples_world: World) -> None:
    with serving(examples_world, "-m", "flask", "--app", "flask_service", "run", "--port", "{port}") as url:
        assert ask("POST", f"{url}/rooms/flask-room/relays/flask-1") == (200, {"stopped at once": False})
        _, closing = ask("DELETE", f"{url}/rooms/flask-room")
        _, ended = ask("GET", f"{url}/shutdowns/{closing['shutdown']}?wait")
        _, late = ask("POST", f"{url}/rooms/flask-room/relays/flask-2")
    assert ended == {"status": "done", "ended": 1, "total": 1}
    assert late == {"stopped at once": True}


def test_the_django_service_enqueues_and_refuses_what_is_wrong(examples_world: World) -> None:
    command = ("django_service.py", "runserver", "--noreload", "--skip-checks", "127.0.0.1:{port}")
    with serving(examples_world, *command) as url:
        accepted, job = ask("POST", f"{url}/relays/django-1/stop")
        _, outcome = ask("GET", f"{url}/jobs/{job['job']}")
        refused, problem = ask("POST", f"{url}/relays/%20/stop")
    assert (accepted, outcome["result"]) == (202, "stopped")
    assert (refused, problem["field"]) == (400, "TaskId")


@pytest.mark.parametrize(("ids", "code"), [(["script-1", "script-2"], 0), ([], 0)])
def test_the_script_stops_what_it_reads(examples_world: World, ids: Sequence[str], code: int) -> None:
    ran = run(examples_world, "stop_script.py", "live-cn", "yourapp", given="\n".join(ids))
    assert ran.returncode == code, ran.stderr
    assert sorted(ran.stdout.splitlines()) == [f"stopped {task}" for task in ids]


def test_the_test_of_a_service_passes(examples_world: World, tmp_path: Path) -> None:
    ran = run(examples_world, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_closing.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout
