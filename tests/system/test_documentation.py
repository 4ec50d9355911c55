"""The snippets of the README and of the documentation run, and print what the pages show."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from streamstop.operations import StopMPUTask
from streamstop_worker.accounts import Account
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.documentation import PAGES, ROOT, Step, program, snippets, steps
from tests.support.http_service import HttpService, http_service
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import World, world

pytestmark = pytest.mark.long

#: The accounts that the pages name, beside the simulator's own.
ACCOUNTS = (
    *DEFAULT_ACCOUNTS,
    Account("live-cn", "aliyun", "documentation-key", "documentation-secret"),
    Account("trtc-sg", "tencent", "documentation-id", "documentation-secret-2", region="ap-singapore"),
)
#: The rooms that several pages name.
ROOMS = ("room-1", "room-42", "room-43", "room-44")
#: Where the pages say that the simulator listens.
SIMULATOR = "127.0.0.1:8099"
#: Where the pages say that the HTTP service listens.
HTTP = "http://127.0.0.1:8080"
#: The other languages of snippets: the file's name, the command that runs it, and the Debian package it comes with.
LANGUAGES = {
    "javascript": ("snippet.mjs", ["node"], "nodejs"),
    "go": ("snippet.go", ["go", "run"], "golang-go"),
    "java": ("StopTask.java", ["java"], "default-jdk-headless"),
}
#: A compiler may take minutes on a busy machine.
SNIPPETS_TIMEOUT_S = 600
#: Between the outputs of two commands, with the first one's exit code.
BETWEEN = "\x1e"
#: The command line of this environment, wherever its script is.
STREAMSTOP = f'streamstop() {{ "{sys.executable}" -m streamstop "$@"; }}\n'


#: Pages that show how many calls were over a limit.
PACED = {ROOT / "docs" / "tutorial.md"}


def named(pages: list[Path]) -> list[object]:
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.paced] if page in PACED else [])
        for page in pages
    ]


@pytest.fixture(scope="module")
def documentation_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return the world that a reader has: Redis, the simulator, a worker."""
    with world(tmp_path_factory.mktemp("documentation"), accounts=ACCOUNTS) as made:
        made.await_account("live-cn")
        yield made


@pytest.fixture
def documented_world(documentation_world: World) -> World:
    """Return it as a page finds it: every task runs at the vendors, every room is open, and no job is left."""
    await_no_jobs(documentation_world)
    documentation_world.simulator.reset()
    documentation_world.simulator.settings(auto_start=True)
    for room in ROOMS:
        assert documentation_world.client.reopen_room(room)
    in_a_room = StopMPUTask(app_id="dev", task_id="in-a-room")  # `make dev` has more of them
    documentation_world.client.register("room-1", in_a_room, account="demo-aliyun-1")
    return documentation_world


def await_no_jobs(made: World) -> None:
    """Return when the jobs and the shutdowns of the earlier pages have ended."""

    def at_work() -> list[object]:
        lanes = [view for view in made.client.lanes() if view.backlog and not view.lane.account.startswith("_")]
        return [*lanes, *["an open shutdown"] * made.client.count_open_shutdowns()]

    eventually(lambda: not at_work(), lambda: f"the end of {at_work()}")


@pytest.fixture(scope="module")
def http(documentation_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """Return the HTTP service of that world."""
    with http_service(documentation_world.server.url, tmp_path_factory.mktemp("http")) as running:
        yield running


def environ(made: World) -> Mapping[str, str]:
    return {**os.environ, "STREAMSTOP_REDIS_URL": made.server.url, "STREAMSTOP_REDIS_TIMEOUT": f"{TIMEOUT_S:g}"}


@pytest.mark.parametrize("page", named([page for page in PAGES if program(page)]))
def test_the_python_of_a_page_runs(page: Path, documented_world: World) -> None:
    """All blocks of a page are one program; a line's number in a traceback is its number in the page."""
    path = documented_world.folder / f"{page.stem}.py"
    path.write_text(program(page))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env=environ(documented_world),
        cwd=documented_world.folder,
        capture_output=True,
        text=True,
        timeout=SNIPPETS_TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", named([page for page in PAGES if steps(page)]))
def test_the_commands_of_a_page_print_what_it_shows(page: Path, documented_world: World, http: HttpService) -> None:
    """All commands of a page run in one shell."""
    host = urlsplit(documented_world.simulator.url).netloc
    todo = [Step(step.command.replace(SIMULATOR, host).replace(HTTP, http.url), step.shown) for step in steps(page)]
    script = STREAMSTOP + "".join(f"{step.command}\nprintf '%s\\n' \"{BETWEEN}$?\"\n" for step in todo)
    ran = subprocess.run(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        env={**environ(documented_world), "STREAMSTOP_TOKEN": http.tokens["everything"]},
        cwd=documented_world.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SNIPPETS_TIMEOUT_S,
        check=False,
    )
    output, *rest = ran.stdout.split(BETWEEN)
    for step, part in zip(todo, rest, strict=True):
        code, _, following = part.partition("\n")
        assert code == "0", f"$ {step.command}\n{output}(exit {code})"
        assert step.fits(output), f"$ {step.command}\n{output}\nThe page shows:\n" + "\n".join(step.shown)
        output = following


def in_other_languages() -> list[object]:
    return [
        pytest.param(language, snippet.text, id=f"{page.name}-{snippet.line}-{language}")
        for page in PAGES
        for language in LANGUAGES
        for snippet in snippets(page, language)
        if snippet.runs
    ]


@pytest.mark.parametrize(("language", "text"), in_other_languages())
def test_what_is_written_in_other_languages_stops_a_task(
    language: str, text: str, documented_world: World, http: HttpService, tmp_path: Path
) -> None:
    name, command, package = LANGUAGES[language]
    assert shutil.which(command[0]), f"{command[0]} is not installed: apt-get install {package}"
    (tmp_path / name).write_text(text.replace(HTTP, http.url))
    ran = subprocess.run(
        [*command, name],
        env={**os.environ, "STREAMSTOP_TOKEN": http.tokens["everything"], "GOCACHE": str(tmp_path / "go")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SNIPPETS_TIMEOUT_S,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "stopped\n"), ran.stderr


def test_the_site_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Who reads it may have no network."""
    strict = ["--quiet", "--fail-on-warning", "--nitpicky", "--builder", "html"]
    subprocess.run([sys.executable, "-m", "sphinx", *strict, str(ROOT / "docs"), str(tmp_path)], check=True)
    pages = "".join(path.read_text() for path in tmp_path.rglob("*.html"))
    loaded = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="([^"]+)"', pages)
    assert loaded
    assert [address for address in loaded if address.startswith(("http:", "https:", "//"))] == []
    assert not re.search(r"(?:@import|url\()[^;)]*//", "".join(path.read_text() for path in tmp_path.rglob("*.css")))


def test_snippets_are_found() -> None:
    """The pages that a newcomer reads first have some of each kind."""
    assert snippets(ROOT / "README.md", "python")
    assert steps(ROOT / "docs" / "tutorial.md")
