"""Controls: what holds lanes back by a person's order, or because a vendor refuses an account's key.

Redis keeps all of them in one hash, ``streamstop.controls``, so that every worker obeys at once. Its fields::

    version           changes with every other field; lanes compare it with the version that they have read
    pause <scope>     a Pause as JSON; the scope is all, vendor:<vendor>, <account>, or <account>.<product>.<Action>
    limit <lane>      a Limit as JSON
    hold <account>    a Hold as JSON

The hash does not exist while there is no control. Beside the fields of the value, the JSON has those that scripts read:
``until_us``, and for a limit ``interval`` and ``places``.
"""

import getpass
import json
import os
import socket
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from streamstop._core.commands import check_account
from streamstop._core.durations import positive_duration
from streamstop._core.lane import Lane
from streamstop._core.pace import HIGHEST_LIMIT, LOWEST_LIMIT, Pace
from streamstop.errors import InvalidCommand, quoted
from streamstop.operations import OPERATIONS, find

#: The scope of every account. The steps of shutdowns and their callbacks go on: they call no vendor.
ALL = "all"
_VENDOR = "vendor:"
#: The longest time after which a pause or a limit ends by itself, and the longest reason and name.
LONGEST = timedelta(days=366)
_LONGEST_TEXT = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Control(BaseModel, ABC):
    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Who did it: ``user@host``, or the name of a token.
    by: str
    #: Why, in that person's words.
    reason: str = ""
    #: When, by Redis' clock.
    at: datetime
    #: When it ends by itself; None: not before somebody ends it.
    until: datetime | None = None

    @property
    @abstractmethod
    def field(self) -> str:
        """Its field of the hash."""

    @property
    def text(self) -> str:
        """Its value in the hash."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True) | self._for_scripts(), separators=(",", ":"))

    def _for_scripts(self) -> dict[str, Any]:
        return {} if self.until is None else {"until_us": (self.until - _EPOCH) // timedelta(microseconds=1)}


class Pause(_Control):
    """A scope of which no job is taken. What is enqueued waits."""

    #: ``all``, ``vendor:<vendor>``, an account, or a lane: ``<account>.<product>.<Action>``.
    scope: str

    @property
    def field(self) -> str:
        """Its field of the hash."""
        return pause_field(self.scope)


class Limit(_Control):
    """A limit of a lane that overrides the accounts file and the vendor's page, in every worker."""

    account: str
    operation: str
    #: Calls per second.
    limit: float

    @property
    def lane(self) -> Lane:
        """Its lane."""
        return Lane(self.account, self.operation)

    @property
    def field(self) -> str:
        """Its field of the hash."""
        return limit_field(self.lane)

    def _for_scripts(self) -> dict[str, Any]:
        pace = Pace.of_limit(self.limit)
        return {**super()._for_scripts(), "interval": pace.interval_us, "places": pace.window}


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
    #: From when on the next probe is called, if a job waits.
    next_probe: datetime | None = None


@dataclass(frozen=True)
class Controls:
    """The pauses, limits and holds at one moment."""

    #: By scope.
    pauses: Mapping[str, Pause]
    #: By lane.
    limits: Mapping[Lane, Limit]
    #: By account: the accounts whose keys are refused.
    holds: Mapping[str, Hold]

    def pause_of(self, lane: Lane) -> Pause | None:
        """Return the pause of `lane` that ends last, whatever its scope."""
        declared = OPERATIONS.get(lane.operation)
        vendor = None if declared is None else declared.spec.product.vendor.name
        scopes = (lane.name, lane.account, f"{_VENDOR}{vendor}", ALL)
        found = [] if lane.account.startswith("_") else [self.pauses[scope] for scope in scopes if scope in self.pauses]
        return max(found, key=lambda pause: (pause.until is None, pause.until or pause.at), default=None)

    def limit_of(self, lane: Lane) -> Limit | None:
        """Return the overridden limit of `lane`."""
        return self.limits.get(lane)

    def hold_of(self, lane: Lane) -> Hold | None:
        """Return the hold of the account of `lane`."""
        return self.holds.get(lane.account)

    @classmethod
    def parse(cls, fields: Mapping[str, str], now: datetime) -> Self:
        """Read the fields of the hash. What has ended at `now` is left out, and so is what this version cannot read."""
        pauses: dict[str, Pause] = {}
        limits: dict[Lane, Limit] = {}
        holds: dict[str, Hold] = {}
        for field, text in fields.items():
            match read_control(field, text):
                case Pause() as pause if not has_ended(pause, now):
                    pauses[pause.scope] = pause
                case Limit() as limit if not has_ended(limit, now):
                    limits[limit.lane] = limit
                case Hold() as hold:
                    holds[hold.account] = hold
        return cls(pauses, limits, holds)


class ControlBackend(Protocol):
    """The controls of a queue. Each change is an event that names `by`."""

    def read(self) -> Controls:
        """Return every control."""

    def pause(self, pause: Pause) -> None:
        """Pause a scope. A pause of the same scope is replaced."""

    def resume(self, scope: str, by: str) -> bool:
        """End the pause of `scope`, and the hold of the account of that name; return whether there was any."""

    def set_limit(self, limit: Limit) -> None:
        """Override the limit of a lane. An older override is replaced."""

    def clear_limit(self, lane: Lane, by: str) -> bool:
        """End the override of a lane's limit; return whether there was one."""


def read_control(field: str, text: str) -> Pause | Limit | Hold | None:
    """Read one field of the hash; None: it is no control, or a newer version wrote it."""
    kinds: dict[str, type[Pause | Limit | Hold]] = {"pause": Pause, "limit": Limit, "hold": Hold}
    kind = kinds.get(field.partition(" ")[0])
    try:
        return None if kind is None else kind.model_validate_json(text)
    except ValidationError:
        return None


def has_ended(control: Pause | Limit, now: datetime) -> bool:
    """Return whether the time of a pause or a limit is over."""
    return control.until is not None and control.until <= now


def pause_field(scope: str) -> str:
    """Return the field of a scope's pause in the hash."""
    return f"pause {scope}"


def limit_field(lane: Lane) -> str:
    """Return the field of a lane's limit in the hash."""
    return f"limit {lane.name}"


def hold_field(account: str) -> str:
    """Return the field of an account's hold in the hash."""
    return f"hold {account}"


def check_scope(scope: object) -> str:
    """Return `scope` if a pause can have it; raise :class:`~streamstop.errors.InvalidCommand` if not."""
    vendors = sorted({declared.spec.product.vendor.name for declared in OPERATIONS.values()})
    if isinstance(scope, str):
        if scope == ALL or (scope.startswith(_VENDOR) and scope.removeprefix(_VENDOR) in vendors):
            return scope
        lane = Lane.from_name(scope)
        if ":" not in scope and ("." not in scope or lane.operation in OPERATIONS):
            with suppress(InvalidCommand):
                check_account(lane.account)
                return scope
    raise InvalidCommand(
        f"scope {quoted(scope)} must be {ALL}, one of {', '.join(_VENDOR + vendor for vendor in vendors)}, an account, "
        "or a lane such as live-cn.live.StopMPUTask",
        field="scope",
    )


def scope_has_account(scope: str) -> bool:
    """Return whether a scope is an account or a lane."""
    return scope != ALL and ":" not in scope


def check_limit(account: object, operation: str, limit: object, *, above_vendor: bool) -> Lane:
    """Return the lane whose limit is set; raise :class:`~streamstop.errors.InvalidCommand` if it cannot be that."""
    lane = Lane(check_account(account), find(operation).spec.id)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not LOWEST_LIMIT <= limit <= HIGHEST_LIMIT:
        raise InvalidCommand(
            f"limit {quoted(limit)} must be a number of calls per second from {LOWEST_LIMIT} to {HIGHEST_LIMIT}; "
            "to make no call, pause the lane",
            field="limit",
        )
    page = find(operation).spec.limit
    if limit > page and not above_vendor:
        raise InvalidCommand(
            f"limit {limit:g} is above the vendor's limit, {page:g} calls per second for {operation}: "
            "lower it, or allow it with above_vendor (--above-vendor)",
            field="limit",
        )
    return lane


def check_lasting(lasting: float | timedelta | None) -> timedelta | None:
    """Return how long a control lasts; raise :class:`~streamstop.errors.InvalidCommand` if it cannot be that."""
    return None if lasting is None else positive_duration(lasting, "lasting", LONGEST)


def check_text(text: object, field: str) -> str:
    """Return a reason or a name; raise :class:`~streamstop.errors.InvalidCommand` if it cannot be one."""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or any(map(_is_control, text)):
        raise InvalidCommand(
            f"{field} must be text of at most {_LONGEST_TEXT} characters, without control characters", field=field
        )
    return text


def check_by(by: str | None) -> str:
    """Return who does it; None: the user and host of this process."""
    return check_text(by, "by") if by is not None else f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid-{os.getuid()}"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"}
