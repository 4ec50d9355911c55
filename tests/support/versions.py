"""Earlier versions' code from the repository's history, for workers and producers that run it."""

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_CODE = ("producers", "worker")
#: The last commit whose workers took jobs from one queue, ``streamstop.ready``.
ONE_QUEUE = "dc2a3106fd69c725fd35c93885e0e98ed487d408"
#: The commit that completed workers that take jobs from the lanes.
LANES = "ad875038b87e78670506628c814f4a89757089bc"
#: A module for Celery's ``--include``: a worker says itself which code it runs.
_SAYS_WHERE = """
import streamstop, streamstop_worker
print("runs", streamstop.__file__, streamstop_worker.__file__, flush=True)
"""
SAYS_WHERE = "says_where"


class NoHistory(AssertionError):
    """The repository does not hold the history with an earlier version."""


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
    """Return the code of this working tree."""
    return Version(_REPOSITORY)


def earlier_version(revision: str, folder: Path) -> Version:
    """Unpack the code of a commit into `folder`. Raises :class:`NoHistory`, which says how to get it."""
    try:
        archive = _git("archive", revision, *_CODE)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"").decode().strip() or str(error)
        raise NoHistory(
            f"the earlier version is not here ({reason}): get the history with `git fetch --unshallow`; "
            "an unpacked archive has none, clone instead"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return Version(folder)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=_REPOSITORY, capture_output=True, check=True).stdout


def write_says_where(folder: Path) -> None:
    """Put the module that :data:`SAYS_WHERE` names into a worker's folder."""
    (folder / f"{SAYS_WHERE}.py").write_text(_SAYS_WHERE)
