"""The documentation says what the code does: settings, keys, JSON, the public API."""

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from pydantic import BaseModel

import streamstop
from streamstop import testing
from streamstop._core import constants
from streamstop.cli import main
from streamstop_worker.accounts import load_accounts
from tests.support.documentation import PAGES, ROOT, Snippet, Step, program, snippets, steps

DOCS = ROOT / "docs"
SOURCES = [
    path for folder in ("producers", "worker", "server", "simulator") for path in sorted((ROOT / folder).rglob("*.py"))
]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_relative_links_lead_somewhere(path: Path) -> None:
    dead = [target for target in LINK.findall(path.read_text()) if not (path.parent / target).exists()]
    assert dead == []


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_paths_in_the_repository_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:producers|worker|simulator|tests|docs|examples|requirements)/[\w./-]*)`", path.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_snippet_is_run_or_says_why_not() -> None:
    odd = [
        f"{path.name}:{snippet.line}"
        for path in PAGES
        for language in ("python", "console")
        for snippet in snippets(path, language)
        if snippet.comment is not None and snippet.comment[0] != "not run"
    ]
    assert odd == []


def test_every_setting_is_documented_and_every_documented_setting_is_read() -> None:
    code = "\n".join(source.read_text() for source in SOURCES)
    read = set(re.findall(r'"(STREAMSTOP_[A-Z_]+[A-Z])"', code))
    assert read == set(re.findall(r"^\| `(STREAMSTOP_[A-Z_]+)`", page("reference/settings.md"), flags=re.MULTILINE))


def test_every_key_in_redis_is_documented() -> None:
    text = page("reference/redis-keys.md") + (constants.__doc__ or "")  # the page shows that table
    keys = [value for name, value in vars(constants).items() if name.isupper() and name != "TASK" and _is_key(value)]
    keys += [f"streamstop.shutdown.<id>:{part}" for part in ("tasks", "jobs", "todo", "again", "lanes", "outcomes")]
    assert [key for key in keys if key not in text] == []


def _is_key(value: object) -> bool:
    return isinstance(value, str) and value.startswith("streamstop.")


def test_people_on_call_are_told_of_every_state_event_and_alert() -> None:
    text = page("guides/on-call.md")
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    told = {name for row in rows for name in re.findall(r"`([\w ]+)[^`]*`", row)}
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yml").read_text())
    states = [state.value.replace("_", " ") for state in (*streamstop.LaneState, *streamstop.Result)]
    fine = {"stopped", "already stopped", "status", "verified", "unverifiable"}
    told |= {name.replace("_", " ") for name in told} | {name.split(" ")[0] for name in told}
    assert alerts
    assert [name for name in (*alerts, *states, *streamstop.EventKind) if name not in told | fine] == []


MODELS = [snippet for snippet in snippets(DOCS / "reference/json.md", "json") if snippet.comment is not None]


@pytest.mark.parametrize("snippet", MODELS, ids=lambda snippet: snippet.comment[1])
def test_the_json_of_the_reference_is_what_the_models_read(snippet: Snippet) -> None:
    assert snippet.comment is not None
    model: type[BaseModel] = getattr(streamstop, snippet.comment[1].removeprefix("streamstop."))
    data = json.loads(snippet.text)
    assert json.loads(model.model_validate(data).model_dump_json()).keys() >= data.keys()


def test_the_reference_shows_what_services_read() -> None:
    assert [snippet.comment[1] for snippet in MODELS if snippet.comment] == [
        "streamstop.Outcome",
        "streamstop.CallAnswer",
        "streamstop.Progress",
        "streamstop.LaneView",
        "streamstop.Drained",
        "streamstop.DeadLetter",
        "streamstop.Event",
        "streamstop.ErrorCount",
        "streamstop.Sighting",
        "streamstop.WorkerView",
        "streamstop.Finding",
    ]


def test_references_in_docstrings_lead_somewhere() -> None:
    """The site's strict build sees those of the public API alone."""
    role = re.compile(r":(?:class|exc|meth|func|attr|data|mod):`~?(streamstop[\w.]+)`")
    targets = {target for source in SOURCES for target in role.findall(source.read_text())}
    assert targets
    assert sorted(target for target in targets if not _exists(target)) == []


def _exists(target: str) -> bool:
    parts = target.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            if part in getattr(found, "__annotations__", {}):
                return True
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize("module", [streamstop, testing])
def test_every_public_class_is_in_the_api_reference(module: ModuleType) -> None:
    documented = re.findall(r":: ([\w.]+)", page("reference/api.md"))
    classes = [name for name in module.__all__ if inspect.isclass(getattr(module, name))]
    assert classes
    assert [name for name in classes if f"{module.__name__}.{name}" not in documented] == []


@pytest.mark.parametrize("path", [ROOT / "README.md", DOCS / "guides/workers.md"], ids=lambda path: path.stem)
def test_the_accounts_files_of_the_pages_are_accepted(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    blocks = [block.text for block in snippets(path, "toml") if "vendor" in block.text]
    assert blocks
    for block in blocks:
        accounts = tmp_path / "accounts.toml"
        accounts.touch(mode=0o600)
        accounts.write_text(block.replace("/run/secrets/live-cn", str(secret)))
        loaded = load_accounts(accounts, {"LIVE_CN_KEY_ID": "k", "LIVE_CN_TOKEN": "t"})
        assert loaded["live-cn"].limits == {"live.StopMPUTask": 8}


@pytest.mark.parametrize(
    ("shown", "output", "fits"),
    [
        (["a … c"], "a b c\n", True),
        (["a … c"], "a b d\n", False),
        (["a", "…"], "a\nb\nc\n", True),
        (["a", "…", "c"], "a\nc\n", True),
        (["a"], "a\nb\n", False),
        ([], "whatever\n", True),
    ],
)
def test_an_output_is_compared_to_what_a_page_shows(shown: list[str], output: str, fits: bool) -> None:
    assert Step("command", shown).fits(output) is fits


def test_pages_are_read_as_programs_and_commands(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# Page\n\n```python\nx = 1\n```\n\n<!-- not run: no -->\n```python\nx = 2\n```\n\n"
        "```console\n$ for n in 1 2; do\n  echo $n\ndone\n1\n2\n$ true\n```\n"
    )
    assert program(path) == "\n\n\nx = 1\n"
    assert steps(path) == [Step("for n in 1 2; do\n  echo $n\ndone", ["1", "2"]), Step("true", [])]


def commands_with_json(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands_with_json(inner, (*path, name))
    elif any("--json" in parameter.opts for parameter in command.params):
        yield " ".join(path)


def test_the_reference_says_what_each_command_prints_as_json() -> None:
    rows = re.findall(
        r"^\| (`[^|]+) \| ", page("reference/json.md").partition("## What `--json` prints")[2], re.MULTILINE
    )
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(commands_with_json(main)) == named


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in (*PAGES, ROOT / "CHANGELOG.md")]
)
def test_the_command_line_has_every_command_and_option_that_is_named(path: Path) -> None:
    named = re.findall(r"`streamstop ([a-z][^`\n]*)`", path.read_text())
    assert [words for words in named if not _is_command(words.split())] == []


@pytest.mark.parametrize("words", ["room watch", "room", "stop --form FILE", "limits list"])
def test_a_command_or_an_option_that_does_not_exist_is_found(words: str) -> None:
    assert _is_command(words.split()) is (words == "room")


def _is_command(words: list[str]) -> bool:
    """Return whether `words` begin with the name of a command, and have no option that it does not have."""
    command: click.Command = main
    for word in words:
        if word.startswith("--"):
            if not any(word in parameter.opts for parameter in command.params):
                return False
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return False
            command = command.commands[word]
    return True
