"""The tests on other Redis servers: which run, and the table of their results."""

from pathlib import Path

import pytest

from tests.support import servers
from tests.support.servers import Tried, main, version


def test_every_file_that_runs_on_each_server_is_there() -> None:
    assert [name for name in servers.SUITES if not (servers.ROOT / name).exists()] == []


@pytest.mark.parametrize("output", ["Redis server v=7.0.15 sha=0:0 bits=64", "Valkey server v=8.0.1 sha=0:0 bits=64"])
def test_a_server_is_named_by_its_kind_and_version(output: str, tmp_path: Path) -> None:
    executable = tmp_path / "redis-server"
    executable.write_text(f"#!/bin/sh\necho '{output}'\n")
    executable.chmod(0o755)
    kind, _, number = output.split()[:3]
    assert version(executable) == f"{kind} {number.removeprefix('v=')}"


def test_a_table_tells_every_server_and_one_that_fails_fails_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[list[str]] = []

    def run_on(folder: Path, options: list[str]) -> Tried:
        given.append(options)
        return Tried(f"Redis {folder}", 10, 0 if folder.name == "7" else 2, 3.0, 0 if folder.name == "7" else 1)

    monkeypatch.setattr(servers, "run_on", run_on)
    assert main(["7", "--", "-x"]) == 0
    assert main(["7", "8", "7"]) == 1
    assert given == [["-x"], [], [], []]
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split()[:4] for row in rows] == [
        ["Redis", "7", "10", "0"],
        ["Redis", "8", "10", "2"],
        ["Redis", "7", "10", "0"],
    ]
    assert "failed" in rows[1]


def test_without_a_folder_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "FOLDER" in capsys.readouterr().out
