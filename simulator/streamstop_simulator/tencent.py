"""Tencent Cloud as its callers see it: how a call is recognised, checked and answered.

Calls are POSTs of JSON under TC3-HMAC-SHA256; the SignedHeaders list is honoured, and must have content-type and host.
Every error but an injected one comes with HTTP status 200, as ``{"Response": {"Error": {"Code", "Message"},
"RequestId"}}``. The checks come in this order: presence, access key, timestamp (5 minutes), token, signature.
"""

import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any

from streamstop.operations import Operation
from streamstop_simulator.accounts import Account
from streamstop_simulator.signatures import tc3_signature
from streamstop_simulator.wire import Answer, Arrival, Claim, Refusal

#: What ``X-TC-Region`` may be, on the China and on the international site.
REGIONS = frozenset(
    {
        "ap-bangkok",
        "ap-beijing",
        "ap-chongqing",
        "ap-guangzhou",
        "ap-jakarta",
        "ap-mumbai",
        "ap-shanghai",
        "ap-singapore",
    }
)
_WINDOW = 5 * 60.0
_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256\s+Credential=([^/,\s]+)/([^/,\s]+)/([^/,\s]+)/tc3_request,"
    r"\s*SignedHeaders=([^,\s]+),\s*Signature=(\S+)"
)
_SERVICE = "trtc"


class Tencent:
    """Tencent's dialect."""

    name = "tencent"

    def recognises(self, arrival: Arrival) -> bool:
        """Return whether this looks like a call to Tencent."""
        return "x-tc-action" in arrival.headers or arrival.headers.get("authorization", "").startswith("TC3-")

    def read(self, arrival: Arrival) -> Claim:
        """Return what the call says of itself. Raises :class:`Refusal` where a required part is missing."""
        headers = arrival.headers
        for name in ("x-tc-action", "x-tc-version", "x-tc-timestamp", "authorization"):
            if not headers.get(name):
                raise Refusal("MissingParameter", f"The request is missing a required parameter `{name}`.")
        if arrival.method != "POST":
            raise Refusal("UnsupportedProtocol", "Only POST with a JSON body is supported.")
        match = _AUTHORIZATION.fullmatch(headers["authorization"])
        if match is None or match[3] != _SERVICE:
            raise Refusal("AuthFailure.InvalidAuthorization", "The request's Authorization header is not valid.")
        if not headers["x-tc-timestamp"].isdecimal():
            raise Refusal("InvalidParameterValue", "The value of X-TC-Timestamp is not a UNIX timestamp.")
        timestamp = int(headers["x-tc-timestamp"])
        if match[2] != datetime.fromtimestamp(min(timestamp, 2**35), UTC).strftime("%Y-%m-%d"):
            raise Refusal("AuthFailure.SignatureFailure", "The credential's date is not that of X-TC-Timestamp.")
        return Claim(
            action=headers["x-tc-action"],
            version=headers["x-tc-version"],
            access_key_id=match[1],
            params=_parameters(arrival.body),
            timestamp=timestamp,
            signature=match[5],
            signed_headers=match[4],
            security_token=headers.get("x-tc-token"),
        )

    def authenticate(self, arrival: Arrival, claim: Claim, account: Account | None) -> None:
        """Check everything that a signature proves. Raises :class:`Refusal`."""
        if account is None:
            raise Refusal("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
        if abs(arrival.epoch - claim.timestamp) > _WINDOW:
            raise Refusal("AuthFailure.SignatureExpire", "The provided credentials are expired: check X-TC-Timestamp.")
        if (claim.security_token or None) != (account.security_token or None):
            raise Refusal("AuthFailure.TokenFailure", "The token does not fit the SecretId.")
        signed = set((claim.signed_headers or "").split(";"))
        genuine = {"content-type", "host"} <= signed <= set(arrival.headers) and hmac.compare_digest(
            tc3_signature(arrival, claim, account.access_key_secret, _SERVICE).encode(), claim.signature.encode()
        )
        if not genuine:
            message = "The provided credentials could not be validated. Please check your signature is correct."
            raise Refusal("AuthFailure.SignatureFailure", message)

    def check(self, operation: type[Operation], claim: Claim, arrival: Arrival) -> dict[str, Any]:
        """Return the operation's parameters. Raises :class:`Refusal` for a wrong region or a wrong parameter."""
        if arrival.headers.get("x-tc-region") not in REGIONS:
            raise Refusal("UnsupportedRegion", "The request region is not supported.")
        if claim.params is None:
            raise Refusal("InvalidParameter.BodyParamsError", "The body is not a JSON object.")
        fields = {str(field.alias): field for field in operation.model_fields.values()}
        for name in claim.params:
            if name not in fields:
                raise Refusal("UnknownParameter", f"The parameter `{name}` is not recognized.")
        for name, field in fields.items():
            if field.is_required() and claim.params.get(name) in (None, ""):
                raise Refusal("MissingParameter", f"The request is missing a required parameter `{name}`.")
            wanted = int if field.annotation is int else str
            if name in claim.params and type(claim.params[name]) is not wanted:
                raise Refusal("InvalidParameter", f"The parameter `{name}` must be of type {wanted.__name__}.")
        return dict(claim.params)

    def unknown_action(self, version_known: bool) -> Refusal:
        """Return the vendor's error for an action or a version that it does not have."""
        if not version_known:
            return Refusal("NoSuchVersion", "The API version does not exist.")
        return Refusal("InvalidAction", "The request action is invalid.")

    def throttled(self, retry_after_ms: int | None) -> Refusal:
        """Return the vendor's error for a call over the limit; Tencent gives no hint."""
        del retry_after_ms
        return Refusal("RequestLimitExceeded", "Your current request times exceed the frequency limit.")

    def reply(self, fields: dict[str, Any], request_id: str, status: int = 200) -> Answer:
        """Return a success."""
        return _answer({**fields, "RequestId": request_id}, status)

    def refuse(self, refusal: Refusal, request_id: str, host: str) -> Answer:
        """Return an error: with HTTP 200, unless the refusal names another status."""
        del host
        error = {"Error": {"Code": refusal.code, "Message": refusal.message}, "RequestId": request_id}
        return _answer(error, refusal.status or 200)


def _parameters(body: bytes) -> dict[str, Any] | None:
    try:
        params = json.loads(body)
    except ValueError:
        return None
    return params if isinstance(params, dict) else None


def _answer(response: dict[str, Any], status: int) -> Answer:
    return Answer(status, "application/json", json.dumps({"Response": response}, ensure_ascii=False).encode())
