"""Callbacks: the signature with which a shutdown's end is told to a URL, made by workers and checked by receivers.

::

    streamstop-signature: t=1767225600,v1=<hex HMAC-SHA256 of "<t>.<body>" with the secret>

One rule: a body is believed only as the bytes that came, and only near the moment at which they were signed.
"""

import hashlib
import hmac
import time
from datetime import datetime, timedelta

#: The header that carries the signature.
HEADER = "streamstop-signature"
#: How far from now the moment of a signature may be, so that what somebody recorded cannot be sent again later.
TOLERANCE = timedelta(minutes=5)


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the header's value for `body`, signed at `timestamp`, in seconds since the epoch."""
    return f"t={timestamp},v1={_digest(secret, str(timestamp), body)}"


def verify(
    secret: str, header: str | None, body: bytes, *, now: datetime | None = None, tolerance: timedelta = TOLERANCE
) -> bool:
    """Return whether `body`, the request's bytes as they came, was signed with `secret` within `tolerance` of `now`.

    `header` is the value of ``streamstop-signature``; one that is missing or cannot be read is False too. While a
    secret is being changed, a receiver asks once with each.
    """
    parts = [part.strip().partition("=") for part in (header or "").split(",")]
    signed_at = next((value for name, _, value in parts if name == "t"), "")
    # Longer than any moment of the next centuries is no moment, and int would take its time to read it.
    if not secret or not (signed_at.isascii() and signed_at.isdigit() and len(signed_at) <= 12):
        return False
    moment = time.time() if now is None else now.timestamp()
    if abs(moment - int(signed_at)) > tolerance.total_seconds():
        return False
    expected = _digest(secret, signed_at, body).encode()
    return any(
        name == "v1" and hmac.compare_digest(value.encode(errors="replace"), expected) for name, _, value in parts
    )


def _digest(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
