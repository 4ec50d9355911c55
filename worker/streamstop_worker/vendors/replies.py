"""Reads the parts of a response that both vendors' protocols need. Nothing here raises, whatever bytes it contains."""

import json
import re
from functools import lru_cache
from typing import Any

from streamstop.operations import Meaning
from streamstop_worker.vendors.protocol import Response

MESSAGE_LENGTH = 500
#: A longer text is neither a code nor a request id.
NAME_LENGTH = 128

#: Replaces a credential that a vendor has repeated.
BLOT = "***"
#: Shorter texts are not masked: they are no credentials, and occur in ordinary words.
_SHORTEST_SECRET = 6

#: Where a vendor's message starts to repeat our request. A message about a wrong signature contains the server's string
#: to sign, which includes the access key id and, with STS, the security token. The text before it is all that helps.
_ECHO = re.compile(
    r"(\bthe )?(\bserver('s)? )?\b(string ?to ?sign|canonical ?(request|string|query|headers?))"
    r"|(x-acs-security-token|x-tc-token|authorization) ?(:|%3A)"
    r"|(access_?key_?id|secret_?id|security_?token|token|credential|signature) ?(=|%3D|%253D)",
    re.IGNORECASE,
)


def json_object(response: Response) -> dict[str, Any] | None:
    """Return the JSON object in a response's body with its credentials masked, or None if there is no object.

    The object can be written as UTF-8 JSON again: it contains no NaN, no infinity and no lone surrogates.
    """
    try:
        value = json.loads(response.body)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        value = _blotted(value, _secrets(response.secrets))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def header(response: Response, name: str) -> str | None:
    """Return a header with its credentials masked, or None if the response does not have it."""
    value: str | None = _blotted(response.headers.get(name), _secrets(response.secrets))
    return value


def name(value: object) -> str | None:
    """Return `value` if it can be a code or a request id: a short printable text without spaces. Else return None."""
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH:
        return None
    return value if value.isprintable() and " " not in value else None


def message(value: object) -> str | None:
    """Return the vendor's message as one line of at most 500 characters, without the parts of our request."""
    if not isinstance(value, str):
        return None
    # Cut first, so that a message of a megabyte costs no more than a short one.
    line = " ".join("".join(c if c.isprintable() else " " for c in value[: 4 * MESSAGE_LENGTH]).split())
    if echo := _ECHO.search(line):
        line = line[: echo.start()].rstrip(" ,;:[(")
    return line[:MESSAGE_LENGTH] or None


@lru_cache(maxsize=1024)  # all calls of an account have the same secrets
def _secrets(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return a pattern that finds each of `secrets`, also percent-encoded any number of times, or None without any."""
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
    """Return the meaning of an answer without a known code, by its HTTP status, and whether it counts as known."""
    if status == 429:
        return Meaning.THROTTLED, True
    return Meaning.TRANSIENT, status >= 500
