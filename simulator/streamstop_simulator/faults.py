"""Fault injection: rules that select calls and a fault for them. The first rule that applies to a call is used.

Faults come after the checks of the signature and of the rate limit, so that a fault never hides a caller's mistake.
"""

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FaultKind(StrEnum):
    """The kinds of fault."""

    ERROR_500 = "500"
    """HTTP 500 with the vendor's ``InternalError``."""
    ERROR_503 = "503"
    """HTTP 503 with the vendor's ``ServiceUnavailable``."""
    LATENCY = "latency"
    """The call is carried out; the answer is sent after `latency_ms`."""
    RESET = "reset"
    """The connection is reset; no answer is sent."""
    HALF_BODY = "half_body"
    """The connection is closed after half the answer's body."""
    HTML = "html"
    """A proxy's HTML error page, by default with status 502."""
    HANG = "hang"
    """No answer is sent; the connection stays open until the caller closes it."""
    THROTTLE = "throttle"
    """The vendor's answer to a call over the limit; with `retry_after_ms`, Alibaba's hint."""
    CODE = "code"
    """The vendor's error `code` with `message` and HTTP `status` (default: Alibaba 400, Tencent 200)."""
    REPLY = "reply"
    """A success with the fields of `reply` and a RequestId, in the vendor's format; HTTP `status` (default 200)."""


class Fault(BaseModel):
    """A rule: the input of ``POST /_control/faults``, one or a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: FaultKind
    #: The rule selects the calls that match each of the given account, operation and task.
    account: str | None = None
    operation: str | None = None
    #: Parameters of the call: ``{"TaskId": "t-1"}``.
    task: dict[str, str | int] | None = None
    #: How many calls get the fault. The default is one; with a probability, it is unlimited.
    times: int | None = Field(default=None, ge=1)
    probability: float | None = Field(default=None, gt=0, le=1)
    seed: int = 0
    #: ``before``: the call is not carried out. ``after``: the call is carried out, and only its answer changes.
    when: Literal["before", "after"] = "before"
    #: Delay of the answer, or of the reset, in milliseconds.
    latency_ms: float = Field(default=0, ge=0)
    code: str | None = None
    message: str | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    reply: dict[str, Any] | None = None
    retry_after_ms: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> "Fault":
        match self.fault:
            case FaultKind.CODE if self.code is None:
                raise ValueError("a fault of kind 'code' needs a code")
            case FaultKind.REPLY if self.reply is None:
                raise ValueError("a fault of kind 'reply' needs a reply")
            case FaultKind.LATENCY if not self.latency_ms:
                raise ValueError("a fault of kind 'latency' needs latency_ms")
            case _:
                return self

    @property
    def prevents(self) -> bool:
        """Whether the call is not carried out. A call that is only delayed is carried out."""
        return self.when == "before" and self.fault is not FaultKind.LATENCY

    def selects(self, account: str, operation: str, params: Mapping[str, Any]) -> bool:
        """Return whether the rule selects this call."""
        return (
            self.account in {None, account}
            and self.operation in {None, operation}
            and all(str(params.get(name)) == str(value) for name, value in (self.task or {}).items())
        )


class _Rule:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.remaining = fault.times if fault.times or fault.probability else 1
        # The sequence is seeded, so that a run can be repeated.
        self._random = random.Random(fault.seed)  # noqa: S311
        self.met = 0

    def applies(self) -> bool:
        if self.fault.probability is not None and self._random.random() >= self.fault.probability:
            return False
        self.met += 1
        if self.remaining is not None:
            self.remaining -= 1
        return True


class Faults:
    """The rules, in the order in which they were added."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(self, fault: Fault) -> None:
        """Add a rule after the others."""
        self._rules.append(_Rule(fault))

    def next_for(self, account: str, operation: str, params: Mapping[str, Any]) -> Fault | None:
        """Return the fault for this call, if any, and count it."""
        for rule in self._rules:
            if rule.remaining != 0 and rule.fault.selects(account, operation, params) and rule.applies():
                return rule.fault
        return None

    def clear(self) -> None:
        """Delete every rule."""
        self._rules.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return each rule, with how many calls met the fault and how many remain (null: unlimited)."""
        return [
            rule.fault.model_dump(mode="json", exclude_none=True) | {"met": rule.met, "remaining": rule.remaining}
            for rule in self._rules
        ]
