r"""Answers: what the vendor answered to each call of a job, as people on call read it.

If a job goes on after an answer, its worker stores the answer in the string ``streamstop.work.answers.<job id>``, as
JSON. The newest answer comes first; ``\x01`` separates the answers. The answer that ends a job is in its outcome, so a
job of one call stores none.
Redis keeps the newest 20 of a job, as long as an outcome.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from streamstop._core.constants import ANSWERS, NOTES_SEPARATOR
from streamstop.outcomes import Outcome, Result

#: How much of a vendor's message is kept with an answer, and by the journal.
LONGEST_MESSAGE = 200
#: Results that a job has without a call as well. Its outcome has a code then if the vendor was called last.
_WITHOUT_CALL = frozenset({Result.EXPIRED, Result.CANCELLED, Result.REFUSED, Result.GAVE_UP})


class Became(StrEnum):
    """What became of a job after an answer."""

    RETRIED = "retried"
    """The job waits to be called again."""
    THROTTLED = "throttled"
    """The job is called again when its lane has rested. The call is no attempt."""
    HELD = "held"
    """The vendor refused the account's key: the job is called again when the vendor accepts it."""
    ENDED = "ended"
    """The job ended with this answer."""


class CallAnswer(BaseModel):
    """A call of a job, and its answer. A success has no code; a fault of the network has one of our own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The number of the call among the calls of the job.
    number: int
    #: When the answer arrived, by Redis' clock; None for an outcome without its moment.
    at: datetime | None = None
    #: How long the call took, in seconds; None in an outcome of a worker of an earlier version.
    seconds: float | None = None
    code: str | None = None
    #: The vendor's message. One that did not end the job is cut to 200 characters.
    message: str | None = None
    #: The vendor's request id. The vendor's support asks for it.
    request_id: str | None = None
    became: Became

    @property
    def sent_at(self) -> datetime | None:
        """When the call was sent, by Redis' clock; None if that is not known."""
        return None if self.at is None or self.seconds is None else self.at - timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        """Return the answer as Redis stores it."""
        fields = self.model_dump(mode="json", exclude_none=True)
        if self.message is not None:
            fields["message"] = self.message[:LONGEST_MESSAGE]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def parse_all(cls, text: str) -> list[Self]:
        """Read the answers of a job, the oldest first, without those that a newer worker writes in another way."""
        answers = []
        for one in reversed(text.split(NOTES_SEPARATOR)):
            try:
                answers.append(cls.model_validate_json(one))
            except ValueError:
                continue
        return answers


def answers_key(job_id: str) -> str:
    """Return the key of a job's answers."""
    return ANSWERS + job_id


def with_last(answers: Iterable[CallAnswer], outcome: Outcome | None) -> tuple[CallAnswer, ...]:
    """Return the answers of a job with the one that ended it, if a call did."""
    last = None if outcome is None else _last_of(outcome)
    return (*answers,) if last is None else (*answers, last)


def _last_of(outcome: Outcome) -> CallAnswer | None:
    """Return the answer in an outcome; None if the job ended without a call."""
    if outcome.calls == 0 or (outcome.result in _WITHOUT_CALL and outcome.code is None):
        return None
    return CallAnswer(
        number=outcome.calls,
        at=outcome.ended_at,
        seconds=outcome.call_seconds,
        code=outcome.code,
        message=outcome.message,
        request_id=outcome.request_id,
        became=Became.ENDED,
    )
