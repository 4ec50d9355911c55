"""Idempotency keys of requests: the header ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header-07)."""

import re

from fastapi import Request

from streamstop_server.http.problems import Problem

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
#: A string as structured fields (RFC 8941) have it, which the draft asks for; the quotes are not part of the key.
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')


def key_of(request: Request) -> str | None:
    """Return the key of a request, quoted or bare; None: it has none."""
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    text = values[0].strip()
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        text = "" if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1])
    if len(values) > 1 or not _KEY.fullmatch(text):
        raise Problem(
            400,
            "invalid-idempotency-key",
            f"{HEADER} must be 1 to 255 visible ASCII characters, bare or in double quotes",
            field=HEADER,
        )
    return text
