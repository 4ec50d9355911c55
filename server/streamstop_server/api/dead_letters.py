"""Dead letters, as the API has them: list, look, requeue and drop, one or all that match."""

from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from streamstop import DeadLetter, LetterCounts, Matching, Outcome, Result
from streamstop_server.access.auth import Operator, Reader, check_account
from streamstop_server.access.tokens import Caller
from streamstop_server.http.documented import errors
from streamstop_server.queue.client import Queue
from streamstop_server.queue.letters import LONGEST_ACT_S, covered_letter, cursor_of, position_of

router = APIRouter(tags=["dead letters"])

_LETTER = "live-cn.live.StopMPUTask.0f8b5c2e9d7a4b31a6c0d4e8f1b29375"
_OLDEST = timedelta(days=3650)
LetterId = Annotated[str, Path(description="The letter's id: that of its job.", max_length=300, examples=[_LETTER])]
_Age = Annotated[float | None, Field(gt=0, le=_OLDEST.total_seconds(), allow_inf_nan=False, description="In seconds.")]


_READABLE = "False: only messages that no worker could read; true: all others."


class LetterFilter(BaseModel):
    """Which dead letters: those that match every field that is set."""

    model_config = ConfigDict(extra="forbid")

    account: Annotated[str | None, Field(description="Only those of the account.")] = None
    operation: Annotated[str | None, Field(description="Only those of the operation.")] = None
    result: Annotated[Result | None, Field(description="Only those that ended so.")] = None
    code: Annotated[str | None, Field(description="Only those with the vendor's code.")] = None
    room: Annotated[str | None, Field(description="Only those of the room's shutdowns.")] = None
    readable: Annotated[bool | None, Field(description=_READABLE)] = None
    older_than: Annotated[_Age, Field(description="Only those that died at least so many seconds ago.")] = None
    younger_than: Annotated[_Age, Field(description="Only those that died at most so many seconds ago.")] = None

    def matching(self, caller: Caller) -> Matching:
        """Return the selection, of the accounts that the token covers."""
        if self.account is not None:
            check_account(caller, self.account)
        return Matching(
            account=self.account,
            accounts=caller.accounts,
            operation=self.operation,
            result=self.result,
            code=self.code,
            room=self.room,
            readable=self.readable,
            older_than=None if self.older_than is None else timedelta(seconds=self.older_than),
            younger_than=None if self.younger_than is None else timedelta(seconds=self.younger_than),
        )


class LetterQuery(LetterFilter):
    """A page of the dead letters that match."""

    limit: Annotated[int, Field(ge=1, le=500, description="How many at most.")] = 50
    cursor: Annotated[str | None, Field(description="`next` of the page before.")] = None


class BulkAct(LetterFilter):
    """Which dead letters to act on. Without `"dry_run": false` they are only counted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"account": "live-cn", "code": "Forbidden.RAM", "dry_run": False}]},
    )

    # A body has numbers and truth values, where a query has their texts.
    readable: Annotated[bool | None, Field(strict=True, description=_READABLE)] = None
    older_than: Annotated[
        _Age, Field(strict=True, description="Only those that died at least so many seconds ago.")
    ] = None
    younger_than: Annotated[
        _Age, Field(strict=True, description="Only those that died at most so many seconds ago.")
    ] = None

    dry_run: Annotated[bool, Field(strict=True, description="Count what matches, and change nothing.")] = True


class DeadLetterDocument(BaseModel):
    """A job whose end needs a person's attention, or a message that no worker could read."""

    id: str
    account: str
    operation: str
    died_at: datetime
    result: Annotated[Result | None, Field(description="null: the message could not be read.")]
    code: Annotated[str | None, Field(description="The vendor's code.")]
    reason: Annotated[str, Field(description="What the vendor or the worker said.")]
    room: str | None
    outcome: Outcome | None
    command: Annotated[dict[str, Any] | None, Field(description="null: it cannot be requeued.")]
    message: Annotated[str | None, Field(description="The first 4 KiB of a message that no worker could read.")]

    @classmethod
    def of(cls, letter: DeadLetter) -> "DeadLetterDocument":
        """Return the document of a letter."""
        return cls.model_construct(**dict(letter), result=letter.result, code=letter.code, reason=letter.reason)


class DeadLetterPage(BaseModel):
    """A page of dead letters, oldest first."""

    dead_letters: list[DeadLetterDocument]
    next: Annotated[str | None, Field(description="The cursor of the next page; null after the last.")]


class RequeuedLetter(BaseModel):
    """A dead letter whose command is enqueued again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"letter": _LETTER, "job": f"{_LETTER[:-4]}0000"}]})

    letter: str
    job: Annotated[str, Field(description="The id of the new job.")]


_JOB_LOCATION: dict[int | str, dict[str, Any]] = {
    202: {"headers": {"Location": {"description": "The new job's path.", "schema": {"type": "string"}}}}
}


@router.get("/dead-letters")
async def list_dead_letters(query: Annotated[LetterQuery, Query()], caller: Reader, queue: Queue) -> DeadLetterPage:
    """Return the dead letters that match, oldest first, page by page."""
    after = None if query.cursor is None else position_of(query.cursor, "cursor")
    found: list[DeadLetter] = []
    async with aclosing(queue.dead_letters.letters(query.matching(caller), after=after)) as letters:
        async for letter in letters:
            found.append(letter)
            if len(found) > query.limit:
                break
    page = found[: query.limit]
    return DeadLetterPage.model_construct(
        dead_letters=[DeadLetterDocument.of(letter) for letter in page],
        next=cursor_of(page[-1]) if len(found) > query.limit else None,
    )


@router.get("/dead-letters/{letter_id}", responses=errors(404))
async def look_at_dead_letter(letter_id: LetterId, caller: Reader, queue: Queue) -> DeadLetterDocument:
    """Return everything that is known of a dead letter."""
    return DeadLetterDocument.of(await covered_letter(caller, queue, letter_id))


@router.post("/dead-letters/{letter_id}:requeue", status_code=202, responses=errors(404, 409) | _JOB_LOCATION)
async def requeue_dead_letter(
    letter_id: LetterId, caller: Operator, queue: Queue, response: Response
) -> RequeuedLetter:
    """Enqueue the command of a dead letter again, without its expiry. The letter is gone then: this happens once."""
    await covered_letter(caller, queue, letter_id)
    job = await queue.dead_letters.requeue(letter_id, by=caller.name)
    response.headers["Location"] = f"/v1/jobs/{quote(job.id, safe='')}"
    return RequeuedLetter(letter=letter_id, job=job.id)


@router.post("/dead-letters/{letter_id}:drop", status_code=204, responses=errors(404))
async def drop_dead_letter(letter_id: LetterId, caller: Operator, queue: Queue) -> None:
    """Delete a dead letter. Its command is not sent again."""
    await covered_letter(caller, queue, letter_id)
    await queue.dead_letters.drop(letter_id, by=caller.name)


@router.post("/dead-letters:requeue")
async def requeue_dead_letters(act: BulkAct, caller: Operator, queue: Queue) -> LetterCounts:
    """Enqueue the commands of all dead letters that match again; return how many.

    With `"dry_run": false` only; without, they are counted. It ends after 20 s: send the request again if `more`.
    """
    return await queue.dead_letters.requeue_matching(
        act.matching(caller), dry_run=act.dry_run, by=caller.name, lasting=LONGEST_ACT_S
    )


@router.post("/dead-letters:drop")
async def drop_dead_letters(act: BulkAct, caller: Operator, queue: Queue) -> LetterCounts:
    """Delete all dead letters that match; return how many.

    With `"dry_run": false` only; without, they are counted. It ends after 20 s: send the request again if `more`.
    """
    return await queue.dead_letters.drop_matching(
        act.matching(caller), dry_run=act.dry_run, by=caller.name, lasting=LONGEST_ACT_S
    )
