"""The lock, ``constraints.txt``: every package of an environment, with its version and the hashes of all its files.

::

    python -m tests.support.lock                        # after a change of pyproject.toml: what is locked stays
    python -m tests.support.lock --upgrade              # all anew
    python -m tests.support.lock --upgrade-package httpx

It holds for every Python and platform that pyproject.toml allows, wherever it was made, and names no registry. It has
three parts, so that an image can take the first and be built with the second.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "constraints.txt"

WORKER = "# The worker"
BUILD = "# What builds the project"
DEVELOPMENT = "# Development"
_HEAD = """\
# Every package of an environment, with its version and its files' hashes: what is not listed here is not installed.
# Made by `python -m tests.support.lock`; the Dockerfile leaves out the last part.
"""
#: A requirement, and the lines that continue it.
_BLOCK = re.compile(r"^([A-Za-z0-9._-]+)==.*?(?<!\\)$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> dict[str, str]:
    """Return the requirements of a lock, hashes and all, by their packages' names."""
    return {found[1]: found[0] for found in _BLOCK.finditer(text)}


def part(text: str, heading: str) -> dict[str, str]:
    """Return the requirements that stand under `heading`."""
    return blocks(text.partition(f"\n{heading}\n")[2].partition("\n# ")[0])


def made(current: str, options: Sequence[str] = ()) -> str:
    """Return the lock that pyproject.toml asks for; versions of `current` are kept unless `options` say otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "lock.txt"
        everything.write_text(current)
        chosen = ("--extra", "worker", "--group", "dev", "--generate-hashes", "--output-file", str(everything))
        _compile(*chosen, *options)
        found = blocks(everything.read_text())
        worker = blocks(_compile("--extra", "worker", "--constraint", str(everything)))
        builds = blocks(_compile("--extra", "worker", "--group", "build", "--constraint", str(everything)))
    parts = {
        WORKER: worker.keys(),
        BUILD: builds.keys() - worker.keys(),
        DEVELOPMENT: found.keys() - builds.keys(),
    }
    return "\n".join([_HEAD, *(_written(heading, found, names) for heading, names in parts.items())])


def _written(heading: str, found: dict[str, str], names: Iterable[str]) -> str:
    return "\n".join([heading, *(found[name] for name in sorted(names))]) + "\n"


def _compile(*options: str) -> str:
    # Wheels alone: what is built on the spot would be built with tools that no hash vouches for.
    fixed = ("--universal", "--python-version", "3.11", "--only-binary", ":all:", "--no-header", "--no-annotate")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *fixed, *options, "pyproject.toml"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


if __name__ == "__main__":
    LOCK.write_text(made(LOCK.read_text(), sys.argv[1:]))
