"""Refusals: what Redis says where it is there, and does not do what it was asked."""

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

_CODES: tuple[tuple[type[RedisError], str], ...] = (
    (AuthenticationError, "AUTH"),
    (BusyLoadingError, "LOADING"),
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
)
#: For those that redis-py has no type for, and for those that a script's error quotes, as Redis before 7 does.
_QUOTED = re.compile(
    r"(?:^|caused error: |because of: |@user_script: ?\d+: -)(LOADING|OOM|READONLY|MISCONF|NOREPLICAS) "
)
#: In a script: what stands before the refused command may have been done.
_IN_SCRIPT = re.compile(r"The user executing the script can't|@user_script")
#: As Redis says it before 7, and since.
_FORBIDDEN_IN_SCRIPT = re.compile("The user executing the script can't|ACL failure in script")

_SAID = {
    "AUTH": "Redis refused the user name or the password (AuthenticationError)",
    "LOADING": "Redis has just started, and is loading its data (LOADING)",
    "OOM": "Redis is out of memory, and takes nothing more (OOM)",
    "READONLY": "this Redis is a replica, and takes nothing (READONLY)",
    "MISCONF": "Redis cannot save to its disk, and takes nothing (MISCONF)",
    "NOREPLICAS": "Redis has too few replicas, and takes nothing (NOREPLICAS)",
    "NOPERM": "this Redis user may not do this (NOPERM)",
}


class StagingLost(RedisError):
    """What was staged in pieces is gone before it was accepted: nothing of it was."""


def code_of(error: BaseException) -> str | None:
    """Return the code of a refusal, such as ``OOM``, where Redis did nothing of what it was asked; None for another."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if not isinstance(error, ResponseError):
        return None
    if is_forbidden(error):
        return None if _IN_SCRIPT.search(str(error)) else "NOPERM"
    quoted = _QUOTED.search(str(error))
    return quoted[1] if quoted else None


def is_forbidden(error: BaseException) -> bool:
    """Whether the user that Redis knows the connection by may not do what it asked."""
    return isinstance(error, NoPermissionError) or _FORBIDDEN_IN_SCRIPT.search(str(error)) is not None


def said(error: BaseException, *, consequence: str, refused: str) -> str:
    """Return for people what went wrong, with its consequence; `refused` is that of a refusal.

    Nothing of what Redis wrote is in it: that may quote a command.
    """
    if isinstance(error, StagingLost):
        return f"{error}: {refused}"
    code = code_of(error)
    if code is not None:
        return f"{_SAID[code]}: {refused}"
    if is_forbidden(error):
        return f"{_SAID['NOPERM']}: {consequence}"
    return f"Redis did not answer ({type(error).__name__}): {consequence}"
