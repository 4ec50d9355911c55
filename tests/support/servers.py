"""Run the tests that depend on the Redis server on one server after the other.

::

    python -m tests.support.servers FOLDER...     # each folder holds a redis-server; more pytest options after --

Ends with a table, then each failed test with the first lines of its error, and with exit code 1 where a test failed.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
#: What depends on the server: scripts, access rules, persistence, replication, failover, memory limits.
SUITES = (
    "tests/integration",
    *(
        f"tests/system/test_{name}.py"
        for name in (
            "acl",
            "acl_denied",
            "acl_operator",
            "controls",
            "async_client",
            "celery_worker",
            "cli_rooms",
            "dead_letters",
            "dead_letters_of_shutdowns",
            "dead_letters_redis_killed",
            "foreign_messages",
            "foreign_producers",
            "full_redis",
            "http_jobs",
            "lifecycle",
            "only_json",
            "outcomes",
            "records",
            "redis_away",
            "redis_away_from_workers",
            "redis_check",
            "redis_setups",
            "replicas",
            "rooms",
            "shutdowns_under_faults",
            "unannounced_jobs",
        )
    ),
)

#: What pytest prints beside progress and tracebacks would push them out of a log of which only the end is kept.
QUIET = ("-q", "--no-header", "--disable-warnings", "--tb=short")
#: How many lines the list of failed tests takes, how many of them one error takes, and how wide they are.
MOST_LINES = 60
LINES_OF_AN_ERROR = 5
WIDTH = 200


@dataclass(frozen=True)
class Failure:
    """A failed test and its error."""

    test: str
    error: str

    def lines(self, server: str) -> list[str]:
        """Return the test and the first lines of its error."""
        error = [line for line in self.error.splitlines() if line.strip()][:LINES_OF_AN_ERROR]
        return [f"{server}: {self.test}", *(f"    {line[:WIDTH]}" for line in error)]


@dataclass(frozen=True)
class Tried:
    """The results of the tests on one server."""

    server: str
    tests: int
    failures: Sequence[Failure]
    seconds: float
    code: int

    def row(self) -> str:
        """Return its line of the table."""
        word = "passed" if self.code == 0 else f"failed (pytest ended with {self.code})"
        return f"{self.server:<24}{self.tests:>7}{len(self.failures):>10}{self.seconds:>9.0f} s   {word}"


def version(executable: Path) -> str:
    """Return a server's name and version, such as ``Redis 7.0.15``."""
    words = subprocess.run([executable, "--version"], check=True, capture_output=True, text=True).stdout.split()
    number = next(word.removeprefix("v=") for word in words if word.startswith("v="))
    return f"{words[0]} {number}"


def run_on(folder: Path, options: Sequence[str]) -> Tried:
    """Run the tests with the folder's redis-server first on the PATH."""
    executable = folder.resolve(strict=True) / "redis-server"
    server = version(executable)
    print(f"== {server}: {folder}", flush=True)  # noqa: T201
    environ = {**os.environ, "PATH": f"{executable.parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as made:
        report = Path(made) / "report.xml"
        command = [sys.executable, "-m", "pytest", *SUITES, *QUIET, f"--junit-xml={report}", *options]
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode
        seconds = time.monotonic() - began
        suites = ElementTree.parse(report).getroot().findall("testsuite") if report.exists() else []
    tests = sum(int(suite.get("tests", 0)) for suite in suites)
    failures = [failure for suite in suites for case in suite for failure in failures_of(case)]
    return Tried(server, tests, failures, seconds, code)


def failures_of(case: ElementTree.Element) -> list[Failure]:
    """Return the failures of a test case in a JUnit report: of its setup, its call and its teardown."""
    test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    return [Failure(test, _error(one)) for one in case if one.tag in ("failure", "error")]


def _error(failure: ElementTree.Element) -> str:
    """Return the first line of the traceback, which is the line of the test that failed, and the message."""
    place = (failure.text or "").strip().partition("\n")[0]
    return f"{place}\n{failure.get('message', '')}"


def failed_tests(tried: Sequence[Tried]) -> list[str]:
    """Return the lines that name the failed tests, at most `MOST_LINES` and one that counts the others."""
    failures = [(one.server, failure) for one in tried for failure in one.failures]
    lines: list[str] = []
    for n, (server, failure) in enumerate(failures):
        more = failure.lines(server)
        if len(lines) + len(more) > MOST_LINES:
            return [*lines, f"and {len(failures) - n} more"]
        lines += more
    return lines


def main(arguments: Sequence[str]) -> int:
    """Run the tests on each server, print the table, and return the exit code."""
    given = list(arguments)
    cut = given.index("--") if "--" in given else len(given)
    folders, options = given[:cut], given[cut + 1 :]
    if not folders:
        print(__doc__)  # noqa: T201
        return 2
    tried = [run_on(Path(folder), options) for folder in folders]
    print(f"\n{'server':<24}{'tests':>7}{'failures':>10}{'time':>11}")  # noqa: T201
    for one in tried:
        print(one.row())  # noqa: T201
    for line in failed_tests(tried):
        print(line)  # noqa: T201
    return 0 if all(one.code == 0 for one in tried) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
