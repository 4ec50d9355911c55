"""Command: one operation for one account, and its JSON format in messages.

The contract, version 1, is the only argument of the Celery task ``streamstop.execute``::

    {"v": 1, "operation": "live.StopMPUTask", "account": "live-cn", "params": {"AppId": "…", "TaskId": "…"},
     "enqueued_at": 1767225600.123, "expires_at": 1767229200.0}

Times are optional, in seconds since the epoch; ``expires_at`` is compared with Redis' clock. Workers ignore unknown
keys, so a newer producer can add one. A command never contains a credential.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from streamstop import operations
from streamstop._core import constants
from streamstop._core.durations import positive_duration
from streamstop._core.lane import Lane
from streamstop.errors import InvalidCommand, NewerMessage, quoted
from streamstop.operations import Operation

VERSION = 1
#: The Celery task that executes commands.
TASK = constants.TASK
#: The longest expiry. Redis' and Lua's numbers represent every moment within it.
LONGEST_EXPIRY = timedelta(days=3650)

#: The form of an account's name. It contains no dots, since it is a part of its lanes' names.
ACCOUNT_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_ACCOUNT = re.compile(ACCOUNT_NAME)


def check_account(name: object) -> str:
    """Return `name` if it is a valid account name; raise :class:`~streamstop.errors.InvalidCommand` if not."""
    if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
        raise InvalidCommand(
            f"account {quoted(name)} must be 1 to 63 of a-z, 0-9, _ and -, starting with a letter or digit",
            field="account",
        )
    return name


@dataclass(frozen=True, init=False)
class Command:
    """A command to enqueue: ``Command(operation=StopMPUTask(…), account="live-cn")``.

    `expires_in` is in seconds, or a timedelta; the attribute is a timedelta.

    Raises :class:`~streamstop.errors.InvalidCommand` when a field is wrong.
    """

    operation: Operation
    account: str
    #: 0 (first) to 9. It orders jobs within a lane, in steps of three as in Celery's Redis transport.
    priority: int = 0
    #: How long after enqueueing the command may still be sent; None: for ever.
    expires_in: timedelta | None = None

    def __init__(
        self, *, operation: Operation, account: str, priority: int = 0, expires_in: float | timedelta | None = None
    ) -> None:
        if not isinstance(operation, Operation):
            raise InvalidCommand(
                f"operation must be an object such as StopMPUTask(…), not {type(operation).__name__}",
                field="operation",
            )
        check_account(account)
        if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
            raise InvalidCommand(
                f"priority must be a whole number from 0 (first) to 9, not {priority!r}", field="priority"
            )
        expiry = None if expires_in is None else positive_duration(expires_in, "expires_in", LONGEST_EXPIRY)
        fields = {"operation": operation, "account": account, "priority": priority, "expires_in": expiry}
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # as a frozen dataclass' own __init__ does

    @property
    def lane(self) -> Lane:
        """The lane in which the command waits."""
        return Lane(self.account, self.operation.spec.id)

    def to_message(self, *, now: datetime) -> dict[str, Any]:
        """Return the command as JSON data; `now` is the moment of enqueueing."""
        message: dict[str, Any] = {
            "v": VERSION,
            "operation": self.operation.spec.id,
            "account": self.account,
            "params": self.operation.params,
            "enqueued_at": now.timestamp(),
        }
        if self.expires_in is not None:
            message["expires_at"] = (now + self.expires_in).timestamp()
        return message


@dataclass(frozen=True)
class ReceivedCommand:
    """A command that a worker has read from a message."""

    operation: Operation
    account: str
    enqueued_at: datetime | None
    expires_at: datetime | None

    @property
    def lane(self) -> Lane:
        """The lane that the command came from."""
        return Lane(self.account, self.operation.spec.id)

    @classmethod
    def from_message(cls, message: object) -> Self:
        """Read a command from JSON data.

        Any region is accepted: the producer has checked it, possibly with a newer list.
        Raises :class:`~streamstop.errors.InvalidCommand`, which names the field. It is
        :class:`~streamstop.errors.NewerMessage` or :class:`~streamstop.errors.UnknownOperation` if a newer worker may
        be able to read the command.
        """
        if not isinstance(message, Mapping):
            raise InvalidCommand("a command must be a JSON object")
        version = message.get("v", VERSION)
        if version != VERSION:
            newer = isinstance(version, int) and version > VERSION
            raise (NewerMessage if newer else InvalidCommand)(
                f"v: this worker reads version {VERSION} of the contract, not {quoted(version)}", field="v"
            )
        params = message.get("params", {})
        if not isinstance(params, Mapping):
            raise InvalidCommand("params must be a JSON object", field="params")
        return cls(
            operation=operations.parse(_text(message, "operation"), params, any_region=True),
            account=check_account(message.get("account")),
            enqueued_at=_moment(message, "enqueued_at"),
            expires_at=_moment(message, "expires_at"),
        )


def _text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise InvalidCommand(f"{key} is required, as text", field=key)
    return value


def _moment(message: Mapping[str, Any], key: str) -> datetime | None:
    value = message.get(key)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise InvalidCommand(f"{key} must be seconds since the epoch", field=key) from None
