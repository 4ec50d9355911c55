"""The tests on other Redis servers: which run, and the table of their results."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import servers
from tests.support.servers import Failure, Tried, failed_tests, failures_of, main, version


def test_every_file_that_runs_on_each_server_is_there() -> None:
    assert [name for name in servers.SUITES if not (servers.ROOT / name).exists()] == []


@pytest.mark.parametrize("output", ["Redis server v=7.0.15 sha=0:0 bits=64", "Valkey server v=8.0.1 sha=0:0 bits=64"])
def test_a_server_is_named_by_its_kind_and_version(output: str, tmp_path: Path) -> None:
    executable = tmp_path / "redis-server"
    executable.write_text(f"#!/bin/sh\necho '{output}'\n")
    executable.chmod(0o755)
    kind, _, number = output.split()[:3]
    assert version(executable) == f"{kind} {number.removeprefix('v=')}"


def test_the_table_has_every_server_and_the_failed_tests_follow_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[list[str]] = []

    def run_on(folder: Path, options: list[str]) -> Tried:
        given.append(options)
        failures = [] if folder.name == "7" else [Failure("tests/a.py::a", "a.py:1: in a\nassert 1 == 2")]
        return Tried(f"Redis {folder}", 10, failures, 3.0, 1 if failures else 0)

    monkeypatch.setattr(servers, "run_on", run_on)
    assert main(["7", "--", "-x"]) == 0
    assert main(["7", "8", "7"]) == 1
    assert given == [["-x"], [], [], []]
    *rows, test, place, error = capsys.readouterr().out.splitlines()[-6:]
    assert [row.split()[:4] for row in rows] == [
        ["Redis", "7", "10", "0"],
        ["Redis", "8", "10", "1"],
        ["Redis", "7", "10", "0"],
    ]
    assert "failed" in rows[1]
    assert (test, place, error) == ("Redis 8: tests/a.py::a", "    a.py:1: in a", "    assert 1 == 2")


def test_a_failure_is_read_from_what_pytest_reports(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert [1] == [2], 'why'\n")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    assert ended.returncode == 1
    (case,) = ElementTree.parse(report).iter("testcase")
    (failure,) = failures_of(case)
    assert failure.test == "test_it.py::test_it"
    assert failure.error.splitlines()[:3] == ["test_it.py:2: in test_it", "AssertionError: why", "assert [1] == [2]"]


def test_the_list_of_failed_tests_is_bounded_in_length_and_width() -> None:
    failures = [Failure(f"test {n}", "\n\n".join("x" * 1000 for _ in range(30))) for n in range(20)]
    lines = failed_tests([Tried("Redis 7", 20, failures, 1.0, 1), Tried("Redis 8", 20, failures, 1.0, 1)])
    assert len(lines) == servers.MOST_LINES + 1
    assert lines[0] == "Redis 7: test 0"
    assert lines[-1] == "and 30 more"
    assert max(map(len, lines)) < servers.WIDTH + 10


def test_without_a_folder_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "FOLDER" in capsys.readouterr().out
