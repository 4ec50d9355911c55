"""Completion of operations, parameters and accounts in a shell, and the scripts that connect it."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from streamstop.cli import main
from streamstop.operations import OPERATIONS, Kind
from tests.support.offline_cli import NOWHERE, run
from tests.support.polling import TIMEOUT_S


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point at an address without a Redis."""
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", NOWHERE)


def completed(words: str, incomplete: str) -> list[str]:
    completion = ShellComplete(main, {}, "streamstop", "_STREAMSTOP_COMPLETE")
    return [item.value for item in completion.get_completions(shlex.split(words), incomplete)]


@pytest.mark.parametrize("kind", list(Kind))
def test_an_operation_completes_to_those_of_its_kind(kind: Kind) -> None:
    of_kind = [name for name, declaration in OPERATIONS.items() if declaration.spec.kind is kind]
    assert completed(kind.value, "") == of_kind
    assert completed(kind.value, "trtc.") == [name for name in of_kind if name.startswith("trtc.")]


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ("stop live.StopMPUTask", "", ["AppId=", "TaskId="]),
        ("stop live.StopMPUTask", "T", ["TaskId="]),
        ("stop live.StopMPUTask AppId=a", "", ["TaskId="]),
        ("stop live.StopMPUTask --account a AppId=a", "", ["TaskId="]),
        ("stop live.StopMPUTask AppId = a", "", ["TaskId="]),
        ("stop live.StopMPUTask AppId=a TaskId=t", "", []),
        ("stop live.StopMPUTask", "AppId=", []),
        ("stop live.StopMPUTask AppId", "", []),
        ("stop live.StopMPUTask AppId =", "ap", []),
        ("stop live.StopLivePullToPush", "Region=cn-s", ["Region=cn-shanghai", "Region=cn-shenzhen"]),
        ("stop live.StopLivePullToPush Region =", "cn-s", ["cn-shanghai", "cn-shenzhen"]),
        ("stop no.Such", "", []),
    ],
)
def test_a_parameter_completes_to_what_is_left(words: str, incomplete: str, expected: list[str]) -> None:
    assert completed(words, incomplete) == expected


def test_the_lone_equals_sign_that_bash_makes_completes_to_every_region() -> None:
    regions = OPERATIONS["live.StopLivePullToPush"].model_json_schema()["properties"]["Region"]["enum"]
    assert completed("stop live.StopLivePullToPush Region", "=") == regions


def test_an_account_completes_to_nothing_where_there_is_no_redis() -> None:
    assert completed("stop live.StopMPUTask --account", "") == []


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the url of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_an_account_completes_to_nothing_soon_where_redis_is_silent(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_TIMEOUT", "3600")
    started = time.monotonic()
    assert completed(f"stop live.StopMPUTask --redis {silent} --account", "") == []
    assert time.monotonic() - started < TIMEOUT_S


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str) -> None:
    result = run(f"completion {shell}")
    assert result.exit_code == 0
    assert f"_STREAMSTOP_COMPLETE={shell}_complete" in result.stdout


def test_bash_completes_with_the_script_and_leaves_the_cursor_behind_the_equals_sign(tmp_path: Path) -> None:
    probe = """
        compopt() { printf 'compopt %s %s\\n' "$@"; }
        eval "$(streamstop completion bash)"
        COMP_WORDS=(streamstop stop live.StopMPUTask AppId = a T) COMP_CWORD=6
        $(complete -p streamstop | sed 's/.*-F \\([^ ]*\\) .*/\\1/') streamstop
        printf '<%s>\\n' "${COMPREPLY[@]}"
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shell = subprocess.run(
        ["bash", "--norc", "-c", probe], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    assert shell.stderr == ""
    assert shell.stdout.split("\n") == ["compopt -o nospace", "<TaskId=>", ""]
