"""The requirement files, which `make lock` writes."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
#: A requirement, and the lines that continue it.
_BLOCK = re.compile(r"^[a-z0-9-]+==.*?(?<!\\)$", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[str]:
    """Return the requirements of a set, hashes and all."""
    return _BLOCK.findall((FOLDER / f"{name}.txt").read_text())


def pins(name: str) -> list[str]:
    """Return the requirements of a set without their hashes: package, version and marker."""
    return [block.partition(" \\\n")[0] for block in blocks(name)]
