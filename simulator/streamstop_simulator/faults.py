"""Faults on demand: rules that say which calls meet which fault. The first rule that fires decides, and is used up.

A call meets a fault after its signature was accepted and its lane's limit was counted, so that a fault never hides
what the caller did wrong.
"""

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR_500 = "500"
    """HTTP 500 with the vendor's ``InternalError``."""
    ERROR_503 = "503"
    """HTTP 503 with the vendor's ``ServiceUnavailable``."""
    LATENCY = "latency"
    """The call is carried out, and the answer comes after `latency_ms`."""
    RESET = "reset"
    """The connection is reset instead of an answer."""
    HALF_BODY = "half_body"
    """The connection is closed after half the answer's body."""
    HTML = "html"
    """A proxy's HTML error page, by default with status 502."""
    HANG = "hang"
    """No answer; the connection stays open until the caller leaves."""
    THROTTLE = "throttle"
    """The vendor's answer to a call over the limit, though it was not; with `retry_after_ms`, Alibaba's hint."""
    CODE = "code"
    """The vendor's error `code`, with `message`, and with HTTP `status` (default: Alibaba 400, Tencent 200)."""
    REPLY = "reply"
    """The fields of `reply` beside a RequestId, as the vendor would wrap them, with HTTP `status` (default 200)."""


class Fault(BaseModel):
    """A rule: what ``POST /_control/faults`` takes, one or a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: FaultKind
    #: Which calls: all of these that are given must fit.
    account: str | None = None
    operation: str | None = None
    #: Parameters that the call must have: ``{"TaskId": "t-1"}``.
    task: dict[str, str | int] | None = None
    #: How many calls meet the fault; by default one, or, with a probability, as many as it takes.
    times: int | None = Field(default=None, ge=1)
    probability: float | None = Field(default=None, gt=0, le=1)
    seed: int = 0
    #: ``before``: the call is not carried out. ``after``: it is, and then its answer is spoiled.
    when: Literal["before", "after"] = "before"
    #: Milliseconds before the answer, or what comes in its place.
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
        """Whether the call is not carried out. A late answer is an answer: latency prevents nothing."""
        return self.when == "before" and self.fault is not FaultKind.LATENCY

    def fits(self, account: str, operation: str, params: Mapping[str, Any]) -> bool:
        """Return whether the rule speaks of this call."""
        return (
            self.account in {None, account}
            and self.operation in {None, operation}
            and all(str(params.get(name)) == str(value) for name, value in (self.task or {}).items())
        )


class _Rule:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.remaining = fault.times if fault.times or fault.probability else 1
        # A seeded sequence, so that a rehearsal can be repeated.
        self._draw = random.Random(fault.seed)  # noqa: S311
        self.met = 0

    def fires(self) -> bool:
        if self.fault.probability is not None and self._draw.random() >= self.fault.probability:
            return False
        self.met += 1
        if self.remaining is not None:
            self.remaining -= 1
        return True


class Faults:
    """The rules in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(self, fault: Fault) -> None:
        """Add a rule behind the others."""
        self._rules.append(_Rule(fault))

    def meet(self, account: str, operation: str, params: Mapping[str, Any]) -> Fault | None:
        """Return the fault that this call meets, and use it up."""
        for rule in self._rules:
            if rule.remaining != 0 and rule.fault.fits(account, operation, params) and rule.fires():
                return rule.fault
        return None

    def clear(self) -> None:
        """Drop every rule."""
        self._rules.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return each rule with how many calls met it and how many still may (null: no bound)."""
        return [
            rule.fault.model_dump(mode="json", exclude_none=True) | {"met": rule.met, "remaining": rule.remaining}
            for rule in self._rules
        ]
