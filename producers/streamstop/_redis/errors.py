"""Classifies errors of Redis: Redis is unreachable or refuses, or the error is a bug in streamstop."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Sequence

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
from redis.sentinel import MasterNotFoundError

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
    r"(LOADING|OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|UNBLOCKED|DENIED) "
)
#: In a script: what stands before the refused command may have been done.
_IN_SCRIPT = re.compile(r"The user executing the script can't|@user_script")
#: As Redis says it before 7, and since.
_FORBIDDEN_IN_SCRIPT = re.compile("The user executing the script can't|ACL failure in script")

_NO_DATABASE = re.compile("DB index is out of range|invalid DB index")

_SAID = {
    "AUTH": "Redis refused the user name or the password",
    "NOAUTH": "Redis asks for a password, and the url has none",
    "DATABASE": "Redis has no database with this number",
    "LOADING": "Redis has just started, and is loading its data",
    "OOM": "Redis is out of memory, and takes nothing more",
    "READONLY": "this Redis is a replica, and takes nothing",
    "MISCONF": "Redis cannot save to its disk, and takes nothing",
    "NOREPLICAS": "Redis has too few replicas, and takes nothing",
    "MASTERDOWN": "this Redis is a replica without its primary, and answers nothing",
    "CLUSTERDOWN": "the Redis cluster is down",
    "TRYAGAIN": "Redis moves its keys to another node, and asks to try again",
    "BUSY": "Redis runs a script that does not end, and takes nothing meanwhile",
    "UNBLOCKED": "this Redis has just become a replica",
    "NOSCRIPT": "Redis has just lost its scripts",
    "NOPERM": "this Redis user may not do this",
    "DENIED": "Redis is in protected mode: without a password it answers only its own machine",
}

#: Where an error of another type names its code, and the line of its script. The rest of its text may quote a command.
_CODE = re.compile(r"(?:^|caused error: |@user_script: ?\d+: -?|user_script: ?\d+: -?)([A-Z]{4,20}) ")
_LINE = re.compile(r"user_script: ?(\d+)")
#: The attribute by which an exception has where its connection led.
_WHERE = "streamstop_where"
_NO_HOST = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)}
#: redis-py's own words, and Redis', for a connection's problem that has no type.
_CONNECTION_PROBLEMS = {
    "connection closed by server.": "connection closed",
    "max number of clients reached": "too many clients",
    "the previous master is now a slave": "it has become a replica",
}
_UNREACHABLE = (RedisConnectionError, RedisTimeout, InvalidResponse, ConnectionError, TimeoutError)


class StagingLost(RedisError):
    """What was staged in pieces is gone before it was accepted: nothing of it was."""


def error_code(error: BaseException) -> str | None:
    """Return the code of a refusal, such as ``OOM``, where Redis did nothing of what it was asked; None for another."""
    if isinstance(error, AuthenticationError) and str(error).startswith("Authentication required"):
        return "NOAUTH"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if not isinstance(error, ResponseError):
        return None
    if is_forbidden(error):
        return None if _IN_SCRIPT.search(str(error)) else "NOPERM"
    if _NO_DATABASE.search(str(error)):
        return "DATABASE"
    quoted = _QUOTED.search(str(error))
    return quoted[1] if quoted else None


def is_forbidden(error: BaseException) -> bool:
    """Whether the user that Redis knows the connection by may not do what it asked."""
    return isinstance(error, NoPermissionError) or _FORBIDDEN_IN_SCRIPT.search(str(error)) is not None


def reason(error: BaseException) -> str:
    """Return for people why Redis did not do what it was asked, and where it is.

    Nothing of what Redis wrote is in it.
    """
    code = "NOPERM" if is_forbidden(error) else error_code(error)
    text = "Redis did not answer" if code is None else _SAID[code]
    details = [_connection_problem(error) if code is None else code, getattr(error, _WHERE, "")]
    return f"{text} ({' at '.join(filter(None, details))})"


def note_where(error: BaseException, where: str) -> None:
    """Note on an exception which server its connection leads to, for :func:`reason`; the first note stays."""
    if not hasattr(error, _WHERE):
        setattr(error, _WHERE, where)


def _connection_problem(error: BaseException) -> str:  # noqa: PLR0911  # a table of cases
    """Return what is wrong with a connection, from exceptions' types and the system's own words alone."""
    # redis-py words an OSError anew, and raises its own while that one is handled.
    of_system = str(error).startswith("Error") and isinstance(error.__context__, OSError)
    cause = error.__context__ if of_system else error
    match cause:
        case MasterNotFoundError():
            return "no sentinel that answers knows such a master" if " : " in str(cause) else "no such master"
        case socket.gaierror():
            return "no such host" if cause.errno in _NO_HOST else "the host name could not be resolved"
        case ssl.SSLCertVerificationError():
            return f"TLS: {cause.verify_message.rstrip('.') or 'the certificate is not valid'}"
        case ssl.SSLError():
            return f"TLS: {(cause.reason or 'failed').replace('_', ' ').lower()}"
        case RedisTimeout() | TimeoutError():
            return "timed out"
        case InvalidResponse():
            return "what it sent is not Redis' protocol"
        case OSError(errno=int(number)) if number in errno.errorcode:
            return os.strerror(number).lower()
        case RedisConnectionError() if str(cause).lower() in _CONNECTION_PROBLEMS:
            return _CONNECTION_PROBLEMS[str(cause).lower()]
        case _:
            return type(cause).__name__


def is_unreachable(error: BaseException) -> bool:
    """Whether Redis cannot be reached, refuses everything for now, or refuses this Redis user.

    The same request may succeed later, or once the set-up is corrected. Any other error is a bug in streamstop, or a
    key of its own that another program has written: the same request fails again.
    """
    return isinstance(error, (*_UNREACHABLE, StagingLost)) or error_code(error) is not None or is_forbidden(error)


def failure(error: BaseException, *, consequence: str, refused: str, job_ids: Sequence[str] = ()) -> StreamstopError:
    """Return what a caller of the client gets for `error`.

    `refused` is the consequence where Redis did nothing of what it was asked, `consequence` that of any other error.
    `job_ids` are the jobs that may then have been enqueued.
    """
    if is_unreachable(error):
        is_lost = isinstance(error, StagingLost)
        why = str(error) if is_lost else reason(error)
        nothing_was_done = is_lost or error_code(error) is not None
        if nothing_was_done:
            return QueueUnavailable(f"{why}: {refused}", reason=why)
        return QueueUnavailable(f"{why}: {consequence}", reason=why, job_ids=job_ids)
    return InternalError(f"this is a bug in streamstop ({bug(error)}): {consequence}")


def bug(error: BaseException) -> str:
    """Return the name of a bug: the exception's type, and the code and the script's line where it has them.

    The exception's own text may quote a command; it is in the traceback.
    """
    text = str(error) if isinstance(error, ResponseError) else ""
    code, line = _CODE.search(text), _LINE.search(text)
    named = type(error).__name__ if code is None else f"{type(error).__name__} {code[1]}"
    return named if line is None else f"{named}, line {line[1]} of a script"
