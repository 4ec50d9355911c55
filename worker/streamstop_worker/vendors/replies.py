"""What both vendors' replies are read with. Nothing here raises, whatever the bytes."""

import json
import re
from functools import lru_cache
from typing import Any

from streamstop.operations import Meaning
from streamstop_worker.vendors.protocol import Response

MESSAGE_LENGTH = 500
#: A code or a request id that is longer is none.
NAME_LENGTH = 128

#: What stands where a vendor has repeated a credential.
BLOT = "***"
#: A shorter text is no credential, and stands in many an innocent word.
_SHORTEST_SECRET = 6

#: Where a vendor starts to echo what we sent. A refused signature is answered with the server's string to sign, and
#: that holds the access key id and, with STS, the security token; the sentence in front of it says all that helps.
_ECHO = re.compile(
    r"(\bthe )?(\bserver('s)? )?\b(string ?to ?sign|canonical ?(request|string|query|headers?))"
    r"|(x-acs-security-token|x-tc-token|authorization) ?(:|%3A)"
    r"|(access_?key_?id|secret_?id|security_?token|token|credential|signature) ?(=|%3D|%253D)",
    re.IGNORECASE,
)


def json_object(response: Response) -> dict[str, Any] | None:
    """Return the JSON object in a response's body, or None where there is none; credentials in it are blotted out.

    Whatever is returned can be written as UTF-8 JSON again: no NaN, no infinity, no lone surrogates.
    """
    try:
        value = json.loads(response.body)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        value = _blotted(value, _secrets(response.secrets))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def header(response: Response, name: str) -> str | None:
    """Return a header, credentials in it blotted out; None where there is none."""
    value: str | None = _blotted(response.headers.get(name), _secrets(response.secrets))
    return value


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


@lru_cache(maxsize=1024)  # an account's secrets are those of each of its calls
def _secrets(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return what finds each of `secrets`, percent-encoded any number of times too; None where there is none."""
    longest_first = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
    found = ("".join(f"(?:%(?:25)*(?i:{ord(c):02x})|{re.escape(c)})" for c in secret) for secret in longest_first)
    return re.compile("|".join(found)) if longest_first else None


def _blotted(value: Any, secrets: re.Pattern[str] | None) -> Any:
    match value:
        case str() if secrets is not None:
            return secrets.sub(BLOT, value)
        case list():
            return [_blotted(item, secrets) for item in value]
        case dict():
            return {_blotted(key, secrets): _blotted(item, secrets) for key, item in value.items()}
        case _:
            return value


def by_status(status: int) -> tuple[Meaning, bool]:
    """Return what an answer without a code that we know means, by its HTTP status, and whether a table lists it."""
    if status == 429:
        return Meaning.THROTTLED, True
    return Meaning.TRANSIENT, status >= 500
