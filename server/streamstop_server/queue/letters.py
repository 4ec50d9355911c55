"""Dead letters: what the API and the page ask of them in the same way."""

import base64
import binascii
from datetime import UTC, datetime, timedelta

from streamstop import AsyncClient, DeadLetter, Lane, Matching
from streamstop_server.access.auth import check_account
from streamstop_server.access.tokens import Caller
from streamstop_server.http.problems import Problem

#: How long one request acts on letters, in seconds. What is left is done by the next. Proxies give up after a minute.
LONGEST_ACT_S = 20.0
_EPOCH = datetime.fromtimestamp(0, UTC)


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
