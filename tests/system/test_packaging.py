"""What is installed, in environments of their own, from the index: for a backend service, and for the image."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import streamstop
from streamstop import Result
from streamstop.operations import OPERATIONS, StopMPUTask
from tests.support.requirements import pins
from tests.support.world import ALIYUN, world

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
#: What only the machines that call vendors need.
WORKER_ONLY = ["celery", "kombu", "httpx", "aiohttp", "yarl", "hiredis", "uvloop", "structlog", "h11"]


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the project as a service would, and return where its programs are."""
    folder = tmp_path_factory.mktemp("service")
    venv, versions = folder / "venv", folder / "versions.txt"
    # pip takes no hashes for what a folder asks for.
    versions.write_text("\n".join(pins("dev")))
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


def test_a_service_gets_fewer_than_ten_packages(bin_folder: Path, tmp_path: Path) -> None:
    listed = json.loads(run(bin_folder / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    installed = {one["name"].lower() for one in listed} - {"pip", "setuptools"}
    assert {"streamstop", "redis", "pydantic", "click"} <= installed
    assert len(installed) < 10, sorted(installed)


@pytest.mark.parametrize("celery", ["celery==5.5.3", "celery[redis]==5.5.3", "celery[redis]>=5.7"])
def test_a_service_may_have_a_celery_of_its_own(celery: str, tmp_path: Path) -> None:
    asked = [*tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"], celery]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(asked))
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", str(requirements)]
    resolved = subprocess.run(command, check=False, capture_output=True, text=True)
    assert resolved.returncode == 0, resolved.stderr
    assert {"celery", "redis"} <= {line.partition("==")[0] for line in resolved.stdout.splitlines()}


def test_a_service_imports_the_client_without_celery_and_an_http_client(bin_folder: Path, tmp_path: Path) -> None:
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
        "lanes = Client('redis://127.0.0.1:1')._backend.connections.lanes\n"
        "print(*sorted(lanes._scripts))"
    )
    scripts = {file.stem for file in (ROOT / "producers/streamstop/_redis/lua/lane").glob("*.lua")}
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
    program = "from streamstop import Client; print(*Client('redis://127.0.0.1:1')._backend.connections.rooms._scripts)"
    scripts = {file.stem for file in (ROOT / "producers/streamstop/_redis/lua/room").glob("*.lua")}
    assert scripts == set(run(bin_folder / "python", "-c", program, cwd=tmp_path).split())


def test_without_its_extra_the_simulator_says_in_one_line_what_to_install(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(bin_folder / "streamstop-simulator", "--port", "0", cwd=tmp_path)
    assert failed.value.stdout == ""
    assert failed.value.stderr == "Error: h11 is not installed: pip install 'streamstop[simulator]'\n"


def test_without_its_extra_the_http_service_says_in_one_line_what_to_install(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(bin_folder / "streamstop-server", cwd=tmp_path)
    assert failed.value.stdout == ""
    assert failed.value.stderr == "Error: uvicorn is not installed: pip install 'streamstop[server]'\n"


def test_without_its_extra_the_worker_says_what_to_install(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(bin_folder / "python", "-c", "import streamstop_worker; streamstop_worker.celery", cwd=tmp_path)
    assert failed.value.stderr == (
        "streamstop: celery is not installed: workers need pip install 'streamstop[worker]'\n"
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the project from what is checked in; return the wheel and the source distribution."""
    folder, source = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("source")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for file in filter(None, files.split("\0")):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    build = ["-m", "uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([sys.executable, *build, "--out-dir", folder, source], check=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_every_file_of_the_packages_and_says_one_version(built: tuple[Path, Path]) -> None:
    packages = (
        "producers/streamstop",
        "worker/streamstop_worker",
        "server/streamstop_server",
        "simulator/streamstop_simulator",
    )
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        (metadata_file,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(metadata_file))
    files = subprocess.run(["git", "ls-files", *packages], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {file.partition("/")[2] for file in files.split()} == {name for name in names if ".dist-info/" not in name}
    assert {f"{package.partition('/')[2]}/py.typed" for package in packages} <= names
    assert metadata["Version"] == streamstop.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    classifiers = metadata.get_all("Classifier") or []
    assert [f"Programming Language :: Python :: 3.{minor}" in classifiers for minor in range(10, 16)] == [
        False,
        *[True] * 4,
        False,
    ]


def interpreters(*versions: str) -> list[str]:
    """Return the interpreters of these versions that run on this machine."""
    found = []
    for name in versions:
        file = shutil.which(name)
        program = "import sys; print(f'python{sys.version_info[0]}.{sys.version_info[1]}')"
        if (
            file
            and subprocess.run([file, "-c", program], check=False, capture_output=True, text=True).stdout == f"{name}\n"
        ):
            found.append(file)
    return found


@pytest.mark.parametrize("python", interpreters("python3.12", "python3.13", "python3.14") or [sys.executable])
@pytest.mark.parametrize("kind", [0, 1], ids=["wheel", "sdist"])
def test_each_python_at_hand_installs_and_runs_it(
    python: str, kind: int, built: tuple[Path, Path], tmp_path: Path
) -> None:
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    run(
        programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", built[kind], cwd=tmp_path
    )
    shown = run(programs / "streamstop", "--version", cwd=tmp_path)
    assert shown == f"streamstop, version {streamstop.__version__}\n"
    assert "Usage: streamstop-simulator" in run(programs / "streamstop-simulator", "--help", cwd=tmp_path)
    program = "import streamstop, streamstop.testing; print(streamstop.__version__, streamstop.Client())"
    assert streamstop.__version__ in run(programs / "python", "-W", "error", "-c", program, cwd=tmp_path)


def test_the_images_steps_make_an_environment_for_workers_the_service_and_the_simulator_alone(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    stage = (ROOT / "Dockerfile").read_text().partition("WORKDIR /app\n")[2].partition("\nFROM ")[0]
    for instruction, _, rest in (line.partition(" ") for line in stage.splitlines() if line):
        if instruction == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                ours = ROOT / source
                folder = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ours, app / target, ignore=folder) if ours.is_dir() else shutil.copy(ours, app / target)
        else:
            assert instruction == "RUN"
            environ = {**os.environ, "PATH": path}
            subprocess.run(rest, shell=True, check=True, cwd=app, env=environ)
    program = (
        "import streamstop_worker.transport, streamstop_worker.health, streamstop_server.app\n"
        "import streamstop_simulator.server\n"
        "from importlib.metadata import distributions\n"
        "print(*(f'{one.name}=={one.version}' for one in distributions()))"
    )
    installed = run(app / ".venv/bin/python", "-W", "error", "-c", program, cwd=tmp_path).split()
    present = {
        f"{canonicalize_name(name)}=={version}" for name, _, version in (one.partition("==") for one in installed)
    }
    locked = [one for one in map(Requirement, pins("worker")) if one.marker is None or one.marker.evaluate()]
    assert present == {f"{one.name}{one.specifier}" for one in locked} | {f"streamstop=={version('streamstop')}"}


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
        assert made.client.enqueue(stop, account=ALIYUN).outcome(timeout=60).result is Result.STOPPED
