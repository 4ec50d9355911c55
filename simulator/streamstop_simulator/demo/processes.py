"""Starts and stops the processes of the demo and of ``make dev``. Each has its own session, and a file for its output.

Ctrl-C on a terminal reaches only the parent, which then stops the processes in order. On Linux, they end even if the
parent is killed with SIGKILL.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamstop_simulator import SimulatorClient
from streamstop_simulator.child_process import end
from streamstop_simulator.demo.interrupt import Interrupt

_STARTS_WITHIN_S = 60.0
_STOPS_WITHIN_S = 10.0
_CHECK_EVERY_S = 0.05
_SHOWN_LINES = 15
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(Exception):
    """A process ended or did not start; the message ends with the last lines of its output."""


@dataclass(frozen=True)
class Process:
    """A process that was started."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise :class:`ProcessFailed` if it has ended."""
        if (code := self.popen.poll()) is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise ProcessFailed(f"{self.name} {how}.{self.last_lines()}")

    def await_line(self, text: str, interrupt: Interrupt) -> str:
        """Wait for a line with `text` in the output, and return the line.

        Raises :class:`ProcessFailed`, and :class:`~streamstop_simulator.demo.interrupt.Interrupted`.
        """
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while True:
            for line in self._text().splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line.strip()
            interrupt.check()
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{self.name} did not start within {_STARTS_WITHIN_S:g} s.{self.last_lines()}")
            time.sleep(_CHECK_EVERY_S)

    def last_lines(self) -> str:
        """Return the last lines of the output, indented, for an error message."""
        lines = self._text().splitlines()[-_SHOWN_LINES:]
        return "".join(f"\n    {line}" for line in [f"{self.name} wrote last:", *(lines or ["(nothing)"])])

    def _text(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def processes(
    commands: Mapping[str, Sequence[str]], folder: Path, environ: Mapping[str, str] | None = None
) -> Iterator[list[Process]]:
    """Start `commands` (name to command line), and stop all of them when the block ends."""
    running: list[Process] = []
    try:
        for name, command in commands.items():
            running.append(_start(name, command, folder, environ))
        yield running
    finally:
        for process in running:
            process.popen.terminate()
        deadline = time.monotonic() + _STOPS_WITHIN_S
        for process in running:
            end(process.popen, max(0.0, deadline - time.monotonic()))


@contextmanager
def simulator(folder: Path, interrupt: Interrupt) -> Iterator[tuple[Process, SimulatorClient]]:
    """Run the simulated vendors with their default accounts."""
    command = [sys.executable, "-m", "streamstop_simulator", "--port", "0"]
    with processes({"simulator": command}, folder) as (process,):
        line = process.await_line("simulator on ", interrupt)
        yield process, SimulatorClient(line.removeprefix("simulator on "))


@contextmanager
def workers(
    count: int, folder: Path, *, redis_url: str, accounts: Path, interrupt: Interrupt
) -> Iterator[list[Process]]:
    """Run `count` workers with the documented command, and wait until they are ready."""
    # Celery warns if the user is root. In a container that is normal.
    celery = [sys.executable, "-W", "ignore::celery.platforms.SecurityWarning", "-m", "celery"]
    commands = {
        f"worker-{number}": [*celery, "-A", "streamstop_worker", "worker", "-n", f"worker-{number}@%h"]
        for number in range(1, count + 1)
    }
    inherited = {name: value for name, value in os.environ.items() if not _changes_workers(name)}
    own = {"STREAMSTOP_REDIS_URL": redis_url, "STREAMSTOP_ACCOUNTS": str(accounts), "STREAMSTOP_LOG_FORMAT": "json"}
    with processes(commands, folder, inherited | own) as running:
        for process in running:
            process.await_line(" ready.", interrupt)
        yield running


@contextmanager
def http_service(folder: Path, *, redis_url: str, port: int, interrupt: Interrupt) -> Iterator[Process]:
    """Run the HTTP service on loopback, without tokens, and wait until it is ready."""
    command = [sys.executable, "-m", "streamstop_server", "--port", str(port)]
    environ = dict(os.environ) | {"STREAMSTOP_REDIS_URL": redis_url}
    with processes({"server": command}, folder, environ) as (process,):
        process.await_line("Uvicorn running on ", interrupt)
        yield process


def die_with_parent() -> None:
    """Ask Linux to kill the calling process when its parent ends; a child calls this between fork and exec."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _start(name: str, command: Sequence[str], folder: Path, environ: Mapping[str, str] | None) -> Process:
    log = folder / f"{name}.log"
    before_exec: Callable[[], None] | None = die_with_parent if _libc is not None else None
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environ,
            start_new_session=True,
            preexec_fn=before_exec,  # noqa: PLW1509  # the parent has no other thread when it starts processes
        )
    return Process(name, popen, log)


def _changes_workers(variable: str) -> bool:
    """Return whether a variable is a setting of workers, other than the connection to Redis."""
    return variable.startswith("STREAMSTOP_") and not variable.startswith("STREAMSTOP_REDIS_")
