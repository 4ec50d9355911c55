"""Tencent Cloud's API: recognises, checks and answers calls.

Calls are POSTs of JSON, signed with TC3-HMAC-SHA256. The SignedHeaders list must contain content-type and host. Errors
are ``{"Response": {"Error": {"Code", "Message"}, "RequestId"}}`` with HTTP status 200; an injected fault may have
another. The order of the checks: required parts, access key, timestamp (5 minutes), token, signature.
"""

import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any

from streamstop.operations import Operation
from streamstop_simulator.accounts import Account
from streamstop_simulator.messages import Answer, Claim, ReceivedRequest, VendorError
from streamstop_simulator.signatures import tc3_signature

#: The values of ``X-TC-Region``, on the China site and on the international site.
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
    """Tencent's protocol."""

    name = "tencent"

    def recognises(self, request: ReceivedRequest) -> bool:
        """Return whether the request looks like a call to Tencent."""
        return "x-tc-action" in request.headers or request.headers.get("authorization", "").startswith("TC3-")

    def parse(self, request: ReceivedRequest) -> Claim:
        """Parse the call, without checking it. Raises :class:`VendorError` if a required part is missing."""
        headers = request.headers
        for name in ("x-tc-action", "x-tc-version", "x-tc-timestamp", "authorization"):
            if not headers.get(name):
                raise VendorError("MissingParameter", f"The request is missing a required parameter `{name}`.")
        if request.method != "POST":
            raise VendorError("UnsupportedProtocol", "Only POST with a JSON body is supported.")
        match = _AUTHORIZATION.fullmatch(headers["authorization"])
        if match is None or match[3] != _SERVICE:
            raise VendorError("AuthFailure.InvalidAuthorization", "The request's Authorization header is not valid.")
        if not headers["x-tc-timestamp"].isdecimal():
            raise VendorError("InvalidParameterValue", "The value of X-TC-Timestamp is not a UNIX timestamp.")
        timestamp = int(headers["x-tc-timestamp"])
        if match[2] != datetime.fromtimestamp(min(timestamp, 2**35), UTC).strftime("%Y-%m-%d"):
            raise VendorError("AuthFailure.SignatureFailure", "The credential's date is not that of X-TC-Timestamp.")
        return Claim(
            action=headers["x-tc-action"],
            version=headers["x-tc-version"],
            access_key_id=match[1],
            params=_parameters(request.body),
            timestamp=timestamp,
            signature=match[5],
            signed_headers=match[4],
            security_token=headers.get("x-tc-token"),
        )

    def authenticate(self, request: ReceivedRequest, claim: Claim, account: Account | None) -> None:
        """Check credentials, timestamp and signature. Raises :class:`VendorError`."""
        if account is None:
            raise VendorError("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
        if abs(request.epoch - claim.timestamp) > _WINDOW:
            raise VendorError(
                "AuthFailure.SignatureExpire", "The provided credentials are expired: check X-TC-Timestamp."
            )
        if (claim.security_token or None) != (account.security_token or None):
            raise VendorError("AuthFailure.TokenFailure", "The token does not fit the SecretId.")
        signed = set((claim.signed_headers or "").split(";"))
        matches = {"content-type", "host"} <= signed <= set(request.headers) and hmac.compare_digest(
            tc3_signature(request, claim, account.access_key_secret, _SERVICE).encode(), claim.signature.encode()
        )
        if not matches:
            message = "The provided credentials could not be validated. Please check your signature is correct."
            raise VendorError("AuthFailure.SignatureFailure", message)

    def check(self, operation: type[Operation], claim: Claim, request: ReceivedRequest) -> dict[str, Any]:
        """Return the operation's parameters. Raises :class:`VendorError` for a wrong region or parameter."""
        if request.headers.get("x-tc-region") not in REGIONS:
            raise VendorError("UnsupportedRegion", "The request region is not supported.")
        if claim.params is None:
            raise VendorError("InvalidParameter.BodyParamsError", "The body is not a JSON object.")
        fields = {str(field.alias): field for field in operation.model_fields.values()}
        for name in claim.params:
            if name not in fields:
                raise VendorError("UnknownParameter", f"The parameter `{name}` is not recognized.")
        for name, field in fields.items():
            if field.is_required() and claim.params.get(name) in (None, ""):
                raise VendorError("MissingParameter", f"The request is missing a required parameter `{name}`.")
            expected = int if field.annotation is int else str
            if name in claim.params and type(claim.params[name]) is not expected:
                raise VendorError("InvalidParameter", f"The parameter `{name}` must be of type {expected.__name__}.")
        return dict(claim.params)

    def unknown_action(self, version_known: bool) -> VendorError:
        """Return the vendor's error for an unknown action or version."""
        if not version_known:
            return VendorError("NoSuchVersion", "The API version does not exist.")
        return VendorError("InvalidAction", "The request action is invalid.")

    def throttled(self, retry_after_ms: int | None) -> VendorError:
        """Return the vendor's error for a call over the limit; Tencent sends no hint."""
        del retry_after_ms
        return VendorError("RequestLimitExceeded", "Your current request times exceed the frequency limit.")

    def reply(self, fields: dict[str, Any], request_id: str, status: int = 200) -> Answer:
        """Return the answer for a success."""
        return _answer({**fields, "RequestId": request_id}, status)

    def error(self, error: VendorError, request_id: str, host: str) -> Answer:
        """Return the answer for an error: HTTP 200, unless `error` has another status."""
        del host
        fields = {"Error": {"Code": error.code, "Message": error.message}, "RequestId": request_id}
        return _answer(fields, error.status or 200)


def _parameters(body: bytes) -> dict[str, Any] | None:
    try:
        params = json.loads(body)
    except ValueError:
        return None
    return params if isinstance(params, dict) else None


def _answer(response: dict[str, Any], status: int) -> Answer:
    return Answer(status, "application/json", json.dumps({"Response": response}, ensure_ascii=False).encode())
