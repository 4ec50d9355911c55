"""Controls: what holds lanes back by a person's order, or because a vendor refuses an account's key.

Redis keeps all of them in one hash, ``streamstop.controls``, so that every worker obeys at once. Its fields::

    version           changes with every other field; lanes compare it with the version that they have read
    pause <scope>     a Pause as JSON; the scope is all, vendor:<vendor>, <account>, or <account>.<product>.<Action>
    limit <lane>      a Limit as JSON
    hold <account>    a Hold as JSON

The hash does not exist while there is no control.
"""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from streamstop._core.commands import check_account
from streamstop._core.lane import Lane
from streamstop.errors import InvalidCommand, quoted
from streamstop.operations import OPERATIONS

#: The scope of every account. The steps of shutdowns and their callbacks go on: they call no vendor.
ALL = "all"
_VENDOR = "vendor:"


class _Control(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Who did it: ``user@host``, or the name of a token.
    by: str
    #: Why, in that person's words.
    reason: str = ""
    #: When, by Redis' clock.
    at: datetime


class Pause(_Control):
    """A scope of which no job is taken. What is enqueued waits."""

    #: ``all``, ``vendor:<vendor>``, an account, or a lane: ``<account>.<product>.<Action>``.
    scope: str
    #: When it ends by itself; None: not before somebody resumes the scope.
    until: datetime | None = None


class Limit(_Control):
    """A limit of a lane that overrides the accounts file and the vendor's page, in every worker."""

    account: str
    operation: str
    #: Calls per second.
    limit: float
    #: When it ends by itself; None: not before somebody clears it.
    until: datetime | None = None


class Hold(BaseModel):
    """An account whose key the vendor refuses. Its jobs wait; one probe a minute is called."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    #: When it began, by Redis' clock.
    at: datetime
    #: The operation, and the vendor's answer, of the last refusal.
    operation: str
    code: str | None = None
    message: str | None = None
    request_id: str | None = None


def check_scope(scope: object) -> str:
    """Return `scope` if a pause can have it; raise :class:`~streamstop.errors.InvalidCommand` if not."""
    vendors = sorted({declared.spec.product.vendor.name for declared in OPERATIONS.values()})
    if isinstance(scope, str):
        if scope == ALL or (scope.startswith(_VENDOR) and scope.removeprefix(_VENDOR) in vendors):
            return scope
        lane = Lane.from_name(scope)
        if ":" not in scope and (not lane.operation or lane.operation in OPERATIONS):
            check_account(lane.account)
            return scope
    raise InvalidCommand(
        f"scope {quoted(scope)} must be {ALL}, one of {', '.join(_VENDOR + vendor for vendor in vendors)}, an account, "
        "or a lane such as live-cn.live.StopMPUTask",
        field="scope",
    )
