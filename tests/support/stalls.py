"""Run tests while their processes stand still at random: a stand-in for a busy machine.

::

    python -m tests.support.stalls [--seed N] [--longest SECONDS] [--only PATTERN] [pytest's arguments]

One process after the other, that of the tests included, is suspended for a moment and goes on. No test may fail by it.
A test that suspends processes itself may be disturbed; `--only` then names the processes that may stand still.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

#: The longest time between two suspensions, in s.
_BETWEEN_S = 0.4


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--seed", type=int, default=None, help="Of the moments and the processes.  [default: another each time]")
@click.option("--longest", default=2.0, show_default=True, help="How long a process stands still at most, in seconds.")
@click.option("--only", default="", help="Only processes whose command line contains this regular expression.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(*, seed: int | None, longest: float, only: str, arguments: tuple[str, ...]) -> None:
    """Run pytest with ARGUMENTS, in one process, and suspend one process of it after the other."""
    seed = random.randrange(1_000_000) if seed is None else seed
    chosen, count = random.Random(seed), 0
    tests = subprocess.Popen([sys.executable, "-m", "pytest", *arguments])
    try:
        while tests.poll() is None:
            time.sleep(chosen.uniform(0, _BETWEEN_S))
            found = [pid for pid in _processes(tests.pid) if re.search(only, _command_line(pid))]
            if found:
                # Mostly a short time, and sometimes a long one.
                _suspend(chosen.choice(found), longest * chosen.random() ** 2)
                count += 1
    finally:
        tests.terminate()
    click.echo(f"processes stood still {count} times; --seed {seed}", err=True)
    sys.exit(tests.wait())


def _suspend(pid: int, seconds: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)


def _processes(root: int) -> Iterator[int]:
    """Yield a process and all its descendants that run or sleep."""
    children = defaultdict[int, list[int]](list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZT":
                children[int(parent)].append(int(folder.name))
    todo = [root]
    while todo:
        pid = todo.pop()
        yield pid
        todo += children[pid]


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


if __name__ == "__main__":
    main()
