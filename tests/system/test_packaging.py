"""What a backend service installs: the package without its extra, in an environment of its own, from the index."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamstop import Result
from streamstop.operations import OPERATIONS, StopMPUTask
from tests.support.lock import blocks
from tests.support.world import ALIYUN, world

ROOT = Path(__file__).parents[2]
#: What only the machines that call vendors need.
WORKER_ONLY = ["httpx", "aiohttp", "yarl", "hiredis", "uvloop", "structlog", "h11"]


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the project as a service would, and return where its programs are."""
    folder = tmp_path_factory.mktemp("service")
    venv, versions = folder / "venv", folder / "versions.txt"
    # pip takes no hashes for what a folder asks for.
    versions.write_text(
        "".join(f"{block.split()[0]}\n" for block in blocks((ROOT / "constraints.txt").read_text()).values())
    )
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [venv / "bin" / "python", *install, "--constraint", versions, ROOT],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return venv / "bin"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program far from the checkout, so that nothing of it can be imported by accident."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STREAMSTOP"))}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, env=environ).stdout


def test_a_service_imports_the_client_without_an_http_client(bin_folder: Path, tmp_path: Path) -> None:
    program = (
        "import importlib.util, streamstop, streamstop.testing\n"
        "streamstop.Client(), streamstop.AsyncClient\n"
        f"print([name for name in {WORKER_ONLY} if importlib.util.find_spec(name)], streamstop.__file__)"
    )
    found, _, file = run(bin_folder / "python", "-W", "error", "-c", program, cwd=tmp_path).partition(" ")
    assert found == "[]"
    assert not Path(file.strip()).is_relative_to(ROOT)


def test_the_lanes_scripts_are_installed_with_the_client(bin_folder: Path, tmp_path: Path) -> None:
    program = (
        "from streamstop import Client\n"
        "lanes = Client('redis://127.0.0.1:1').connections.lanes\n"
        "print(*sorted(lanes._scripts))"
    )
    scripts = {file.stem for file in (ROOT / "producers/streamstop/lanes/scripts").glob("[a-z]*.lua")}
    assert scripts <= set(run(bin_folder / "python", "-c", program, cwd=tmp_path).split())


@pytest.mark.parametrize("command", [["streamstop"], ["python", "-m", "streamstop"]], ids=" ".join)
def test_the_command_line_works_without_the_worker(bin_folder: Path, tmp_path: Path, command: list[str]) -> None:
    program, *arguments = command
    assert "Usage: streamstop" in run(bin_folder / program, *arguments, "--help", cwd=tmp_path)
    listed = run(bin_folder / program, *arguments, "operations", "--json", cwd=tmp_path).splitlines()
    assert [json.loads(line)["id"] for line in listed] == list(OPERATIONS)


def test_the_types_are_installed(bin_folder: Path, tmp_path: Path) -> None:
    program = "import streamstop, pathlib; print((pathlib.Path(streamstop.__file__).parent / 'py.typed').exists())"
    assert run(bin_folder / "python", "-c", program, cwd=tmp_path).strip() == "True"


def test_the_rooms_scripts_are_installed_with_the_client(bin_folder: Path, tmp_path: Path) -> None:
    program = "from streamstop import Client; print(*Client('redis://127.0.0.1:1').connections.rooms._scripts)"
    scripts = {file.stem for file in (ROOT / "producers/streamstop/rooms/scripts").glob("[a-z]*.lua")}
    assert scripts == set(run(bin_folder / "python", "-c", program, cwd=tmp_path).split())


def test_without_its_extra_the_simulator_says_in_one_line_what_to_install(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(bin_folder / "streamstop-simulator", "--port", "0", cwd=tmp_path)
    assert failed.value.stdout == ""
    assert failed.value.stderr == "Error: h11 is not installed: pip install 'streamstop[simulator]'\n"


def test_without_its_extra_the_worker_says_what_to_install(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(bin_folder / "python", "-c", "import streamstop_worker", cwd=tmp_path)
    assert failed.value.stderr.splitlines()[-1].endswith("pip install 'streamstop[worker]'")


def test_a_worker_calls_vendors_without_the_simulator_and_its_extra(tmp_path: Path) -> None:
    # httpx depends on a package that installs h11, so the import is blocked instead.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules.update(h11=None, streamstop_simulator=None)\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", "import sys; print([sys.modules['h11'], sys.modules['streamstop_simulator']])"]
    blocked = subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE)
    assert blocked.stdout == b"[None, None]\n"
    stop = StopMPUTask(app_id="app", task_id="relay-1")
    with world(tmp_path, environ={"PYTHONPATH": path}) as made:
        made.simulator.start_tasks(ALIYUN, [stop])
        assert made.client.enqueue(stop, account=ALIYUN).outcome(timeout=30).result is Result.STOPPED
