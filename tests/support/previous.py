"""The version before this one: its code out of the repository's history, for workers and producers that run it.

That is the last commit whose workers took jobs from one ready queue; ``STREAMSTOP_PREVIOUS`` names another revision.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_CODE = ("producers", "worker")
_REVISION = "dc2a3106fd69c725fd35c93885e0e98ed487d408"
#: A module for Celery's ``--include``: a worker says itself which code it runs.
_SAYS_WHERE = """
import streamstop, streamstop_worker
print("runs", streamstop.__file__, streamstop_worker.__file__, flush=True)
"""
SAYS_WHERE = "says_where"


class NoHistory(AssertionError):
    """The repository does not hold the version before this one."""


@dataclass(frozen=True)
class Version:
    """One version's code in a folder."""

    folder: Path

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process needs to run it: these folders go before those that an editable install adds."""
        folders = [self.folder / "producers", self.folder / "worker"]
        return {"PYTHONPATH": os.pathsep.join(map(str, folders))}

    @property
    def says(self) -> str:
        """What a worker of it writes with :data:`SAYS_WHERE` included."""
        producers, worker = self.folder / "producers/streamstop", self.folder / "worker/streamstop_worker"
        return f"runs {producers}/__init__.py {worker}/__init__.py"


def present_version() -> Version:
    """Return the code as it lies here."""
    return Version(_REPOSITORY)


def previous_version(folder: Path) -> Version:
    """Unpack the previous version into `folder`. Raises :class:`NoHistory`, which says how to get it."""
    revision = os.environ.get("STREAMSTOP_PREVIOUS") or _REVISION
    try:
        archive = _git("archive", revision, *_CODE)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode().strip() or str(error)
        raise NoHistory(
            f"the previous version is not here ({said}): get the history with `git fetch --unshallow`, "
            "or name a revision that is here in STREAMSTOP_PREVIOUS; an unpacked archive has none, clone instead"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return Version(folder)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=_REPOSITORY, capture_output=True, check=True).stdout


def write_says_where(folder: Path) -> None:
    """Put the module that :data:`SAYS_WHERE` names into a worker's folder."""
    (folder / f"{SAYS_WHERE}.py").write_text(_SAYS_WHERE)
