"""Computes the three signatures over a received request. No code is shared with the worker, which signs.

Each function returns the expected signature; the caller compares it with the received one.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from streamstop_simulator.messages import Claim, ReceivedRequest


def acs3_signature(request: ReceivedRequest, claim: Claim, secret: str) -> str:
    """Return Alibaba's ACS3-HMAC-SHA256 signature, hex."""
    pairs = sorted(parse_qsl(request.query, keep_blank_values=True))
    canonical = "\n".join(
        (
            request.method,
            request.path,
            "&".join(f"{_encode(name)}={_encode(value)}" for name, value in pairs),
            _header_lines(request, claim, lower_values=False),
            claim.signed_headers or "",
            request.headers.get("x-acs-content-sha256", ""),
        )
    )
    return _hmac_hex(secret.encode(), f"ACS3-HMAC-SHA256\n{_sha256(canonical.encode())}")


def rpc_signature(method: str, params: list[tuple[str, str]], secret: str) -> str:
    """Return Alibaba's RPC HMAC-SHA1 signature over all parameters, base64."""
    canonical = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in sorted(params) if name != "Signature")
    text = f"{method}&%2F&{_encode(canonical)}"
    # SHA-1 is part of the definition of this older signature.
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), "sha1")).decode()


def tc3_signature(request: ReceivedRequest, claim: Claim, secret: str, service: str) -> str:
    """Return Tencent's TC3-HMAC-SHA256 signature, hex."""
    canonical = "\n".join(
        (
            request.method,
            request.path,
            request.query,
            _header_lines(request, claim, lower_values=True),
            claim.signed_headers or "",
            _sha256(request.body),
        )
    )
    date = datetime.fromtimestamp(claim.timestamp, UTC).strftime("%Y-%m-%d")
    text = f"TC3-HMAC-SHA256\n{int(claim.timestamp)}\n{date}/{service}/tc3_request\n{_sha256(canonical.encode())}"
    key = f"TC3{secret}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return _hmac_hex(key, text)


def _header_lines(request: ReceivedRequest, claim: Claim, *, lower_values: bool) -> str:
    names = (claim.signed_headers or "").split(";")
    values = ((name, request.headers.get(name, "").strip()) for name in sorted(names))
    return "".join(f"{name}:{value.lower() if lower_values else value}\n" for name, value in values)


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac_hex(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()
