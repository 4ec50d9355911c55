"""Refusals: what an error of Redis means: Redis is away, refuses for now or by its set-up, or streamstop has a bug."""

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from streamstop.errors import InternalError, QueueUnavailable, StreamstopError

#: What redis-py and the operating system raise. Which of these are bugs, :func:`is_unreachable` tells.
ERRORS = (RedisError, OSError)

_CODES: tuple[tuple[type[RedisError], str], ...] = (
    (AuthenticationError, "AUTH"),
    (BusyLoadingError, "LOADING"),
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
    (MasterDownError, "MASTERDOWN"),  # before its base class
    (ClusterDownError, "CLUSTERDOWN"),
    (TryAgainError, "TRYAGAIN"),
    (NoScriptError, "NOSCRIPT"),
)
#: For those that redis-py has no type for, and for those that a script's error quotes, as Redis before 7 does.
_QUOTED = re.compile(
    r"(?:^|caused error: |because of: |@user_script: ?\d+: -)"
    r"(LOADING|OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|UNBLOCKED) "
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
    "MASTERDOWN": "this Redis is a replica without its primary, and answers nothing (MASTERDOWN)",
    "CLUSTERDOWN": "the Redis cluster is down (CLUSTERDOWN)",
    "TRYAGAIN": "Redis moves its keys to another node, and asks to try again (TRYAGAIN)",
    "BUSY": "Redis runs a script that does not end, and takes nothing meanwhile (BUSY)",
    "UNBLOCKED": "this Redis has just become a replica (UNBLOCKED)",
    "NOSCRIPT": "Redis has just lost its scripts (NOSCRIPT)",
    "NOPERM": "this Redis user may not do this (NOPERM)",
}

#: Where an error of another type names its code, and the line of its script. The rest of its text may quote a command.
_CODE = re.compile(r"(?:^|caused error: |@user_script: ?\d+: -?|user_script: ?\d+: -?)([A-Z]{4,20}) ")
_LINE = re.compile(r"user_script: ?(\d+)")
_UNREACHABLE = (RedisConnectionError, RedisTimeout, InvalidResponse, ConnectionError, TimeoutError)


class StagingLost(RedisError):
    """What was staged in pieces is gone before it was accepted: nothing of it was."""


def error_code(error: BaseException) -> str | None:
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
    code = error_code(error)
    return f"{reason(error)}: {consequence if code is None else refused}"


def reason(error: BaseException) -> str:
    """Return for people why Redis did not do what it was asked; nothing of what Redis wrote is in it."""
    code = "NOPERM" if is_forbidden(error) else error_code(error)
    return f"Redis did not answer ({type(error).__name__})" if code is None else _SAID[code]


def is_unreachable(error: BaseException) -> bool:
    """Whether Redis cannot be reached, refuses everything for now, or refuses this Redis user.

    The same request may succeed later, or once the set-up is corrected. Any other error is a bug in streamstop, or a
    key of its own that another program has written: the same request fails again.
    """
    return isinstance(error, (*_UNREACHABLE, StagingLost)) or error_code(error) is not None or is_forbidden(error)


def failure(error: BaseException, *, consequence: str, refused: str) -> StreamstopError:
    """Return what a caller of the client gets for `error`; see :func:`said` for the arguments."""
    if is_unreachable(error):
        return QueueUnavailable(said(error, consequence=consequence, refused=refused))
    return InternalError(f"this is a bug in streamstop ({bug(error)}): {consequence}")


def bug(error: BaseException) -> str:
    """Return the name of a bug: the exception's type, and the code and the script's line where it has them.

    The exception's own text may quote a command; it is in the traceback.
    """
    text = str(error) if isinstance(error, ResponseError) else ""
    code, line = _CODE.search(text), _LINE.search(text)
    named = type(error).__name__ if code is None else f"{type(error).__name__} {code[1]}"
    return named if line is None else f"{named}, line {line[1]} of a script"
