"""Lua scripts: one a file, loaded from a package's ``scripts`` folder behind the preludes that they share."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from redis import Redis

Script = Callable[..., Any]


def load(redis: Redis, package: str, *, preludes: Mapping[str, str]) -> dict[str, Script]:
    """Return the scripts of `package` by name; `preludes` are names of the files that stand first, to their package.

    A file whose name begins with ``_`` is a prelude.
    """
    shared = "".join((_folder(owner) / f"{name}.lua").read_text() for name, owner in preludes.items())
    return {
        file.name.removesuffix(".lua"): redis.register_script(shared + file.read_text())
        for file in _folder(package).iterdir()
        if file.name.endswith(".lua") and not file.name.startswith("_")
    }


def _folder(package: str) -> Any:
    return resources.files(package) / "scripts"
