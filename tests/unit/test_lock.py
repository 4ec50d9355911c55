"""The lock: everything that is installed is named in it, with a version and hashes, and no registry."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.lock import BUILD, DEVELOPMENT, LOCK, WORKER, blocks, part

TEXT = LOCK.read_text()
PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
GROUPS: dict[str, list[Any]] = PROJECT["dependency-groups"]


def locked(text: str) -> dict[str, Requirement]:
    """Return the requirements of a lock, or of a part of it, without their hashes."""
    return {name: Requirement(block.partition("\\")[0].strip()) for name, block in blocks(text).items()}


def test_every_package_has_one_version_and_hashes_and_no_address() -> None:
    found = blocks(TEXT)
    assert len(found) > 80
    for block in found.values():
        first, *hashes = block.split(" \\\n    ")
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.+]+( ; .+)?", first), first
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), block
    rest = TEXT
    for block in found.values():
        rest = rest.replace(f"{block}\n", "")
    assert all(not line or line.startswith("# ") for line in rest.splitlines())
    assert "://" not in TEXT


def test_what_is_installed_here_is_what_is_locked() -> None:
    locked_versions = {name: requirement.specifier for name, requirement in locked(TEXT).items()}
    installed = {canonicalize_name(one.name): one.version for one in distributions()}
    both = installed.keys() & locked_versions.keys()
    assert len(both) > 80
    assert {name: installed[name] for name in both if installed[name] not in locked_versions[name]} == {}


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (PROJECT["project"]["dependencies"], [WORKER]),
        (PROJECT["project"]["optional-dependencies"]["worker"], [WORKER]),
        (GROUPS["build"] + PROJECT["build-system"]["requires"], [WORKER, BUILD]),
        ([one for one in GROUPS["dev"] if isinstance(one, str)], [WORKER, BUILD, DEVELOPMENT]),
    ],
    ids=["producers", "worker", "build", "dev"],
)
def test_what_the_project_asks_for_stands_in_its_part_of_the_lock(asked: list[str], parts: list[str]) -> None:
    found = {name for heading in parts for name in part(TEXT, heading)}
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        assert name in found
        (version,) = locked(TEXT)[name].specifier
        assert version.version in requirement.specifier


def test_the_parts_are_the_whole() -> None:
    names = [name for heading in (WORKER, BUILD, DEVELOPMENT) for name in part(TEXT, heading)]
    assert sorted(names) == sorted(blocks(TEXT))
    assert all(part(TEXT, heading) for heading in (WORKER, BUILD, DEVELOPMENT))
