"""Dead letters: what the API and the page ask of them in the same way."""

import asyncio
import base64
import binascii
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from streamstop import AsyncClient, DeadLetter, Lane, LetterCounts, Matching
from streamstop_server.access.auth import check_account
from streamstop_server.access.tokens import Caller
from streamstop_server.http.problems import Problem

#: How long one request acts on letters, in seconds. What is left is done by the next. Proxies give up after a minute.
LONGEST_ACT_S = 20.0
_EPOCH = datetime.fromtimestamp(0, UTC)


async def act_on_matching(
    queue: AsyncClient, act: str, matching: Matching, *, seconds: float, by: str | None = None, dry_run: bool = False
) -> tuple[LetterCounts, bool]:
    """Requeue or drop the letters that match, for `seconds` at most; return how many, and whether these are all."""
    done = LetterCounts(dry_run=dry_run)

    def note(counts: LetterCounts) -> None:
        nonlocal done
        done = counts

    letters = queue.dead_letters
    call = letters.requeue_matching if act == "requeue" else letters.drop_matching
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await call(matching, dry_run=dry_run, by=by, progress=note), True
    return done, False


async def covered_letter(caller: Caller, queue: AsyncClient, letter_id: str) -> DeadLetter:
    """Return a letter; refuse one of an account that the token does not cover, by its lane or by its command."""
    lane = Lane.of_job(letter_id)
    if lane is not None:
        check_account(caller, lane.account)
    letter = await queue.dead_letters.get(letter_id)
    check_account(caller, letter.account)
    if caller.accounts is not None and not Matching(accounts=caller.accounts).fits(letter):
        raise Problem(403, "forbidden", f"the token {caller.name} does not cover the account of the letter's command")
    return letter


def cursor_of(letter: DeadLetter) -> str:
    """Return the position of a letter as text for clients, who need not know what it says."""
    text = f"{(letter.died_at - _EPOCH) // timedelta(microseconds=1)} {letter.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str, field: str) -> tuple[datetime, str]:
    """Return the position that a cursor names; `field` is where it was."""
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, _, letter_id = text.partition(" ")
        return _EPOCH + timedelta(microseconds=int(moment)), letter_id
    except (binascii.Error, ValueError, OverflowError):
        raise Problem(422, "invalid-value", f"{field} must be of an earlier page", field=field) from None
