"""Refusals: which errors say that Redis is unreachable, and which are bugs."""

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from streamstop import InternalError, QueueUnavailable
from streamstop._redis.errors import StagingLost, bug, error_code, failure, is_unreachable, reason

AS_IN_SCRIPTS = [
    "{code} it is so",
    "{code} it is so script: 5a1f, on @user_script:12.",
    "Error running script (call to f_5a1f): @user_script:12: @user_script: 12: -{code} it is so",
    "Command # 2 (HSET k v) of pipeline caused error: {code} it is so",
    "EXECABORT Transaction discarded because of: {code} it is so",
]
CODES = [
    "LOADING",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "UNBLOCKED",
]


def answered(text: str) -> Exception:
    """Return what redis-py makes of an error of Redis."""
    made: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]
    return made


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("text", AS_IN_SCRIPTS)
def test_a_refusal_that_passes_is_no_bug_wherever_it_is_quoted(text: str, code: str) -> None:
    error = answered(text.format(code=code))
    assert (is_unreachable(error), error_code(error)) == (True, code)
    assert code in reason(error)
    assert "it is so" not in reason(error)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (exceptions.ConnectionError("another text"), "ConnectionError"),
        (exceptions.TimeoutError("Timeout reading from socket"), "timed out"),
        (exceptions.InvalidResponse("Protocol error"), "what it sent is not Redis' protocol"),
        (exceptions.MaxConnectionsError(), "MaxConnectionsError"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (ConnectionResetError(), "ConnectionResetError"),
        (TimeoutError(), "timed out"),
    ],
)
def test_a_redis_that_does_not_answer_is_unreachable(error: Exception, problem: str) -> None:
    assert is_unreachable(error)
    assert reason(error) == f"Redis did not answer ({problem})"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("WRONGPASS invalid username-password pair", "the user name or the password"),
        ("NOAUTH Authentication required.", "asks for a password"),
        ("NOPERM this user has no permissions to run the 'set' command", "this Redis user may not do this"),
        ("ERR The user executing the script can't run this command or subcommand", "this Redis user may not do this"),
        ("NOPERM ACL failure in script: the user has no permissions", "this Redis user may not do this"),
    ],
)
def test_a_setup_that_redis_refuses_is_reported_as_such(text: str, said: str) -> None:
    error = answered(text)
    assert is_unreachable(error)
    made = failure(error, consequence="a", refused="b")
    assert isinstance(made, QueueUnavailable)
    assert said in str(made)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (answered("WRONGTYPE Operation against a key"), "ResponseError WRONGTYPE"),
        (
            answered("Error running script (call to f_5a1f): @user_script:12: WRONGTYPE Operation against a key"),
            "ResponseError WRONGTYPE, line 12 of a script",
        ),
        (
            answered("WRONGTYPE Operation against a key script: 5a1f, on @user_script:301."),
            "ResponseError WRONGTYPE, line 301 of a script",
        ),
        (answered("ERR user_script:7: attempt to index a nil value SECRET x"), "ResponseError, line 7 of a script"),
        (answered("ERR unknown command 'HSET', with args beginning with: 'SECRET' "), "ResponseError"),
        (exceptions.DataError("Invalid input of type: 'NoneType'"), "DataError"),
        (FileNotFoundError("take.lua"), "FileNotFoundError"),
        (PermissionError(), "PermissionError"),
        (KeyError("SECRET "), "KeyError"),
    ],
)
def test_anything_else_is_a_bug_whose_name_quotes_nothing(error: Exception, named: str) -> None:
    assert not is_unreachable(error)
    assert bug(error) == named
    made = failure(error, consequence="nothing is known of it", refused="nothing was changed")
    assert isinstance(made, InternalError)
    assert str(made) == f"this is a bug in streamstop ({named}): nothing is known of it"


def test_a_batch_that_was_lost_before_it_was_accepted_is_no_bug() -> None:
    made = failure(StagingLost("the staged commands are gone"), consequence="a", refused="nothing was enqueued")
    assert isinstance(made, QueueUnavailable)
    assert str(made) == "the staged commands are gone: nothing was enqueued"
