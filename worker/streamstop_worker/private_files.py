"""Files that hold credentials, or say where they are sent: read only where nobody else can have written them.

Whoever can write the accounts file can have every call, signed, sent to a host of his own. Who can only read it has the
credentials themselves; but files that an orchestrator mounts are readable by all as a rule, in a container in which
nobody else is, so that is no mistake.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

import structlog

_log = structlog.get_logger("streamstop")
_MODE_BITS = 0o7777


class Unsafe(ValueError):
    """Another user could have written the file; the message says how, and what helps."""


def read(path: Path, most: int = -1) -> tuple[bytes, bool]:
    """Return the file's first `most` bytes, and whether others can read it whom its owner should keep out.

    These are other users where the file is the worker's own and could be changed: what lies on a read-only mount, or
    belongs to root while the worker does not run as root, was put there so on purpose. Raises :class:`Unsafe`, OSError.
    """
    with path.open("rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):  # a pipe, say: there is nothing to be written beforehand
            return opened.read(most), False
        _check(path, status)
        read_only = os.fstatvfs(opened.fileno()).f_flag & os.ST_RDONLY
        legible = status.st_mode & stat.S_IROTH and status.st_uid == os.geteuid() and not read_only
        return opened.read(most), bool(legible)


def warn_of_readers(path: Path) -> None:
    """Say that other users can read the credentials in a file."""
    _log.warning("other users can read credentials", file=str(path), do=f"chmod 600 {path}")


def _check(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise Unsafe(f"belongs to user {status.st_uid}, who could change it; let root or the worker's user own it")
    shared = status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid)
    if shared or status.st_mode & stat.S_IWOTH:
        mode = f"{status.st_mode & _MODE_BITS:04o}"
        raise Unsafe(
            f"can be written by other users (mode {mode}), who could send its calls elsewhere: chmod go-w {path}"
        )


def _is_private(group: int, user: int) -> bool:
    """Return whether a group is its user's own, of the same name: many systems let it write whatever the user makes."""
    try:
        name, of_group = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return of_group.gr_name == name and set(of_group.gr_mem) <= {name}
