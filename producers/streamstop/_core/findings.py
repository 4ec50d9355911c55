"""Findings: what an examination of the queue has found, and the facts about Redis that it is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

#: The check that Redis answers. It is among the findings only if Redis does not.
REACHABLE = "redis.reachable"
#: The check of an account's key.
ACCOUNT_CHECK = "account"
#: How long the check of an account's key may take.
DIAGNOSIS_TIMEOUT = timedelta(seconds=20)


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Something to know. Nothing has to be done."""
    PROBLEM = "problem"


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)

    #: What was looked at, such as ``redis.eviction``.
    check: str
    severity: Severity
    #: What is so.
    text: str
    #: What to do; None if nothing.
    do: str | None = None
    #: Details, by name.
    facts: Mapping[str, Any] = {}


class Diagnosis(BaseModel):
    """The findings of one examination."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[Finding, ...]

    @property
    def reachable(self) -> bool:
        """Whether Redis answered. If not, nothing of the queue was looked at."""
        return all(finding.check != REACHABLE for finding in self.findings)

    @property
    def problems(self) -> list[Finding]:
        """The findings that need somebody to do something."""
        return [finding for finding in self.findings if finding.severity is Severity.PROBLEM]


@dataclass(frozen=True)
class SlowCommand:
    """A command of ours in Redis' slow log."""

    #: The script, such as ``lane/take``, or the command.
    name: str
    at: datetime
    duration: timedelta


@dataclass(frozen=True)
class ServerFacts:
    """What a Redis says about itself."""

    #: What INFO says; None: the user may not ask.
    info: Mapping[str, Any] | None
    #: The settings ``save`` and ``appendfsync``; None: the user may not ask.
    config: Mapping[str, Any] | None = None
    #: The commands that Redis refused, and the type of the error.
    refused: Mapping[str, str] = field(default_factory=dict)
    #: The slow commands that are ours, newest first; None: the user may not ask.
    slow: Sequence[SlowCommand] | None = None
    #: The time by Redis' clock.
    now: datetime | None = None
    #: How far this machine's clock is ahead of Redis' clock.
    clock_ahead: timedelta = timedelta(0)
    #: How many replicas must confirm what a producer writes.
    replicas_wanted: int = 0


def ok(check: str, text: str, **facts: Any) -> Finding:
    """Return the finding that all is well."""
    return Finding(check=check, severity=Severity.OK, text=text, facts=facts)


def note(check: str, text: str, do: str | None = None, **facts: Any) -> Finding:
    """Return a finding that needs nobody."""
    return Finding(check=check, severity=Severity.NOTE, text=text, do=do, facts=facts)


def problem(check: str, text: str, do: str, **facts: Any) -> Finding:
    """Return a finding that needs somebody to do something."""
    return Finding(check=check, severity=Severity.PROBLEM, text=text, do=do, facts=facts)
