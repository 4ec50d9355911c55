"""Run the tests that depend on the Redis server on one server after the other.

::

    python -m tests.support.servers FOLDER...     # each folder holds a redis-server; more pytest options after --

Ends with a table, and with 1 where a test failed.
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


@dataclass(frozen=True)
class Tried:
    """The results of the tests on one server."""

    server: str
    tests: int
    failures: int
    seconds: float
    code: int

    def row(self) -> str:
        """Return its line of the table."""
        word = "passed" if self.code == 0 else f"failed (pytest ended with {self.code})"
        return f"{self.server:<24}{self.tests:>7}{self.failures:>10}{self.seconds:>9.0f} s   {word}"


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
        command = [sys.executable, "-m", "pytest", *SUITES, "-q", f"--junit-xml={report}", *options]
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode
        seconds = time.monotonic() - began
        suites = ElementTree.parse(report).getroot().findall("testsuite") if report.exists() else []
    tests = sum(int(suite.get("tests", 0)) for suite in suites)
    failures = sum(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) for suite in suites)
    return Tried(server, tests, failures, seconds, code)


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
    return 0 if all(one.code == 0 for one in tried) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
