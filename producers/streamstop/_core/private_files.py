"""Files that contain credentials, or say where these are sent. A file that another user could have written is refused.

A user who can write the accounts file can have signed calls sent to any host. A user who can read it has the
credentials. That only causes a warning: an orchestrator usually mounts files as readable by all, in a container that
has no other users.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

_MODE_BITS = 0o7777


class Unsafe(ValueError):
    """Another user could have written the file. The message says how, and how to prevent it."""


def read(path: Path, most: int = -1) -> tuple[bytes, bool]:
    """Return the file's first `most` bytes, and whether to warn that other users can read it.

    There is no warning for a file on a read-only mount, nor for a file of root if the process does not run as root: it
    cannot change their mode. Raises :class:`Unsafe`, OSError.
    """
    with path.open("rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):  # such as a pipe, which nobody can write beforehand
            return opened.read(most), False
        _check(path, status)
        read_only = os.fstatvfs(opened.fileno()).f_flag & os.ST_RDONLY
        legible = status.st_mode & stat.S_IROTH and status.st_uid == os.geteuid() and not read_only
        return opened.read(most), bool(legible)


def _check(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise Unsafe(
            f"belongs to user {status.st_uid}, who could change it; let root or the user of this process own it"
        )
    shared = status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid)
    if shared or status.st_mode & stat.S_IWOTH:
        mode = f"{status.st_mode & _MODE_BITS:04o}"
        raise Unsafe(f"can be written by other users (mode {mode}), who could put their own in it: chmod go-w {path}")


def _is_private(group: int, user: int) -> bool:
    """Return whether a group is the user's own: it has the user's name, and no other member.

    Many systems let this group write every file that the user creates.
    """
    try:
        name, of_group = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return of_group.gr_name == name and set(of_group.gr_mem) <= {name}
