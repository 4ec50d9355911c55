"""Callbacks: the signature of the request that reports a shutdown's end to a URL. Workers sign, receivers verify.

::

    streamstop-signature: t=1767225600,v1=<hex HMAC-SHA256 of "<t>.<body>" with the secret>

The signature covers the exact bytes of the body and the moment of signing.
"""

import hashlib
import hmac
import time
from datetime import datetime, timedelta

#: The header that carries the signature.
HEADER = "streamstop-signature"
#: How far from now the moment of a signature may be, so that a recorded request cannot be replayed later.
TOLERANCE = timedelta(minutes=5)


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the header's value for `body`, signed at `timestamp` (seconds since the epoch)."""
    return f"t={timestamp},v1={_digest(secret, str(timestamp), body)}"


def verify(
    secret: str, header: str | None, body: bytes, *, now: datetime | None = None, tolerance: timedelta = TOLERANCE
) -> bool:
    """Return whether `body`, the exact bytes of the request, was signed with `secret` within `tolerance` of `now`.

    `header` is the value of ``streamstop-signature``. Return False if it is missing or malformed. While a secret is
    being rotated, call this once with each secret.
    """
    parts = [part.strip().partition("=") for part in (header or "").split(",")]
    signed_at = next((value for name, _, value in parts if name == "t"), "")
    # 12 digits are enough for any moment. A long number would make int() slow.
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
