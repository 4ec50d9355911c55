"""Membership: the shutdown that a job is part of.

It is the key ``shutdown`` of a command's JSON data. A job without this key belongs to no shutdown.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from streamstop._core.commands import Command, ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._core.lane_types import MemberResult
from streamstop.errors import InvalidCommand
from streamstop.outcomes import Outcome

#: The most entries of one page.
MOST_ON_PAGE = 10_000


def check_room(room: object) -> str:
    """Return `room` if it is a valid room name; raise :class:`~streamstop.errors.InvalidCommand` if not."""
    if not isinstance(room, str) or not room.strip():
        raise InvalidCommand("room must be text that is not blank", field="room")
    if len(room.encode(errors="surrogatepass")) > 256:
        raise InvalidCommand("room must not be longer than 256 bytes", field="room")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in room):
        raise InvalidCommand("room must not contain control characters", field="room")
    return room


def check_page_size(most: object) -> int:
    """Return how many entries a page shall have; raise :class:`~streamstop.errors.InvalidCommand` if it may not."""
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST_ON_PAGE:
        raise InvalidCommand(f"most must be a whole number from 1 to {MOST_ON_PAGE}", field="most")
    return most


def check_callback(callback: object) -> dict[str, Any] | None:
    """Return a callback as messages contain it: ``{"url": …}`` or a Celery signature.

    Raises :class:`~streamstop.errors.InvalidCommand` if it is neither, or not JSON.
    """
    if callback is None:
        return None
    if isinstance(callback, str):
        try:
            parts = urlsplit(callback)
            _ = parts.port
        except ValueError:
            raise InvalidCommand("callback must be a URL that can be read", field="callback") from None
        loopback = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if not parts.hostname or parts.scheme not in ({"https", "http"} if loopback else {"https"}):
            raise InvalidCommand("callback must be an https:// URL (http:// on loopback)", field="callback")
        if parts.username is not None or parts.password is not None:
            raise InvalidCommand("callback must not carry credentials: it is signed instead", field="callback")
        return {"url": callback}
    if not isinstance(callback, Mapping) or not isinstance(callback.get("task"), str):
        raise InvalidCommand("callback must be a URL or a Celery signature", field="callback")
    try:
        signature: dict[str, Any] = json.loads(json.dumps(dict(callback)))
    except (TypeError, ValueError):
        raise InvalidCommand("callback must be a signature whose arguments are JSON", field="callback") from None
    return signature


def task_of(command: Command | ReceivedCommand) -> str:
    """Return the identity of a stream task: its stop's account, operation and parameters, as JSON."""
    parts = [command.account, command.operation.spec.id, dict(sorted(command.operation.params.items()))]
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)


class Verification(BaseModel):
    """The stop that a status job verifies."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The stop's outcome. It becomes the stream task's outcome in the end.
    stopped: Outcome
    #: The stop's parameters, for a second stop.
    params: dict[str, str | int]
    #: When the vendor acknowledged the stop, in seconds since the epoch.
    since: float


class Membership(BaseModel):
    """The stream task, and its shutdown, that a job is for."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    shutdown: str
    #: The task; with a number if it was started again while its room closed.
    member: str
    verify: bool = False
    #: For how many seconds a stopped task may still run at the vendor before it is stopped again, or given up.
    patience: float = 30.0
    #: The number of this stop, or of the stop that is verified. The second is the last.
    stop_attempt: int = Field(default=1, alias="round")
    #: How often the task's dead letter has been requeued.
    requeued: int = 0
    #: Set in the status job that verifies a stop.
    verification: Verification | None = Field(default=None, alias="follow")

    @classmethod
    def of_message(cls, message: object) -> Self | None:
        """Return the membership in `message`, a command's JSON data; None: it belongs to no shutdown."""
        data = message.get("shutdown") if isinstance(message, Mapping) else None
        if data is None:
            return None
        try:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair cannot be in a key of Redis
            return cls.model_validate(data)
        except (ValueError, TypeError, RecursionError):
            return None

    def in_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return `message`, a command's JSON data, with this membership."""
        return {**message, "shutdown": self.model_dump(mode="json", exclude_none=True, by_alias=True)}

    def job_id(self, lane: Lane) -> str:
        """Return the id of the job of this step for the member. It is deterministic, so the job is enqueued once."""
        step = f"{self.shutdown} {self.member} {self.stop_attempt} {self.verification is not None}"
        if self.requeued:
            step += f" {self.requeued}"
        return f"{lane.name}.{hashlib.sha256(step.encode()).hexdigest()[:32]}"


def member_result_of(membership: Membership, outcome: Outcome) -> MemberResult:
    """Return how `outcome` counts in the shutdown."""
    return MemberResult(
        shutdown=membership.shutdown,
        member=membership.member,
        result=outcome.result.value,
        outcome=outcome.model_dump_json(exclude_none=True),
        ok=outcome.result.ok,
        attention=outcome.result.needs_person,
    )


def moment(seconds: object) -> datetime | None:
    """Return the moment of a field of a shutdown's hash, seconds since the epoch as text; None if it is empty."""
    return None if not seconds else datetime.fromtimestamp(float(str(seconds)), UTC)
