"""What both vendors' replies are read with. Nothing here raises, whatever the bytes."""

import json
import re
from typing import Any

from streamstop.operations import Meaning

MESSAGE_LENGTH = 500
#: A code or a request id that is longer is none.
NAME_LENGTH = 128

#: Where a vendor starts to echo what we sent. A refused signature is answered with the server's string to sign, and
#: that holds the access key id and, with STS, the security token; the sentence in front of it says all that helps.
_ECHO = re.compile(
    r"(\bthe )?(\bserver('s)? )?\b(string ?to ?sign|canonical ?(request|string|query|headers?))"
    r"|(x-acs-security-token|x-tc-token|authorization) ?(:|%3A)"
    r"|(access_?key_?id|secret_?id|security_?token|token|credential|signature) ?(=|%3D|%253D)",
    re.IGNORECASE,
)


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None where there is none.

    Whatever is returned can be written as UTF-8 JSON again: no NaN, no infinity, no lone surrogates.
    """
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def name(value: object) -> str | None:
    """Return `value` if it can be a code or a request id: a short printable text without spaces."""
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH:
        return None
    return value if value.isprintable() and " " not in value else None


def message(value: object) -> str | None:
    """Return the vendor's message as one line of at most 500 characters, without what it echoes of our request."""
    if not isinstance(value, str):
        return None
    # The bound comes first, so that a message of a megabyte costs no more than any other.
    line = " ".join("".join(c if c.isprintable() else " " for c in value[: 4 * MESSAGE_LENGTH]).split())
    if echo := _ECHO.search(line):
        line = line[: echo.start()].rstrip(" ,;:[(")
    return line[:MESSAGE_LENGTH] or None


def by_status(status: int) -> tuple[Meaning, bool]:
    """Return what an answer without a code that we know means, by its HTTP status, and whether a table lists it."""
    if status == 429:
        return Meaning.THROTTLED, True
    return Meaning.TRANSIENT, status >= 500
