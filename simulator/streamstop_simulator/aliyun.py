"""Alibaba Cloud's API: recognises, checks and answers calls.

Two signatures are accepted: ACS3-HMAC-SHA256 (headers) and RPC HMAC-SHA1 (parameters, in the query or in a form body).
Errors are ``{"Code", "Message", "RequestId", "HostId"}`` with a 4xx or 5xx status. Replies are JSON; the parameter
``Format`` is ignored. The order of the checks: required parts, timestamp (15 minutes), access key, token, signature,
nonce.
"""

import hashlib
import hmac
import json
import re
from collections import deque
from datetime import UTC, datetime
from typing import Any, get_args
from urllib.parse import parse_qsl

from streamstop.operations import Operation
from streamstop_simulator.accounts import Account
from streamstop_simulator.messages import Answer, Claim, ReceivedRequest, VendorError
from streamstop_simulator.signatures import acs3_signature, rpc_signature

_WINDOW = 15 * 60.0
_AUTHORIZATION = re.compile(r"ACS3-HMAC-SHA256\s+Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=(\S+)")
_RPC_PARAMETERS = ("Version", "AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce")


class Aliyun:
    """Alibaba's protocol. A nonce is remembered while its timestamp would be accepted."""

    name = "aliyun"

    def __init__(self) -> None:
        self._nonces: set[tuple[str, str]] = set()
        self._expiries: deque[tuple[float, tuple[str, str]]] = deque()

    def recognises(self, request: ReceivedRequest) -> bool:
        """Return whether the request looks like a call to Alibaba."""
        if "x-acs-action" in request.headers or request.headers.get("authorization", "").startswith("ACS3-"):
            return True
        return any(name == "Action" for name, _ in _parameters(request))

    def parse(self, request: ReceivedRequest) -> Claim:
        """Parse the call, without checking it. Raises :class:`VendorError` if a required part is missing."""
        if "x-acs-action" in request.headers or "authorization" in request.headers:
            return _parse_acs3(request)
        return _parse_rpc(request)

    def authenticate(self, request: ReceivedRequest, claim: Claim, account: Account | None) -> None:
        """Check timestamp, credentials, signature and nonce. Raises :class:`VendorError`."""
        if abs(request.epoch - claim.timestamp) > _WINDOW:
            raise VendorError("InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        if account is None:
            raise VendorError("InvalidAccessKeyId.NotFound", "Specified access key is not found.", 404)
        if account.security_token and not claim.security_token:
            raise VendorError("MissingSecurityToken", "SecurityToken is mandatory for this action.")
        if (claim.security_token or None) != (account.security_token or None):
            message = "Specified SecurityToken does not fit the AccessKeyId."
            raise VendorError("InvalidSecurityToken.MismatchWithAccessKey", message)
        if not _signature_matches(request, claim, account.access_key_secret):
            raise VendorError("SignatureDoesNotMatch", "Specified signature is not matched with our calculation.")
        self._use_nonce(request.epoch, claim)

    def check(self, operation: type[Operation], claim: Claim, request: ReceivedRequest) -> dict[str, Any]:
        """Return the operation's own parameters. Raises :class:`VendorError` if a required one is missing.

        Other parameters (``RegionId``, ``OwnerId``) are ignored, as the vendor does.
        """
        del request
        given = claim.params or {}
        for field in operation.model_fields.values():
            value = str(given.get(str(field.alias), ""))
            if field.is_required() and not value:
                raise VendorError("MissingParameter", f"{field.alias} is mandatory for this action.")
            if value and not value.isdecimal() and _is_number(field.annotation):
                raise VendorError("InvalidParameter", f"The specified value of {field.alias} is not valid.")
        names = {str(field.alias) for field in operation.model_fields.values()}
        return {name: value for name, value in given.items() if name in names}

    def unknown_action(self, version_known: bool) -> VendorError:
        """Return the vendor's error for an unknown action."""
        del version_known
        return VendorError("InvalidApi.NotFound", "Specified api is not found, please check your url and method.", 404)

    def throttled(self, retry_after_ms: int | None) -> VendorError:
        """Return the vendor's error for a call over the limit; the hint is a header, which not every API sends."""
        hint = () if retry_after_ms is None else (("x-acs-retry-after", str(retry_after_ms)),)
        return VendorError("Throttling.User", "Request was denied due to user flow control.", 400, hint)

    def reply(self, fields: dict[str, Any], request_id: str, status: int = 200) -> Answer:
        """Return the answer for a success."""
        return _answer({"RequestId": request_id, **fields}, request_id, status)

    def error(self, error: VendorError, request_id: str, host: str) -> Answer:
        """Return the answer for an error."""
        fields = {"RequestId": request_id, "HostId": host, "Code": error.code, "Message": error.message}
        return _answer(fields, request_id, error.status or 400, error.headers)

    def _use_nonce(self, now: float, claim: Claim) -> None:
        while self._expiries and self._expiries[0][0] < now:
            self._nonces.discard(self._expiries.popleft()[1])
        nonce = (claim.access_key_id, claim.nonce or "")
        if nonce in self._nonces:
            raise VendorError("SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces.add(nonce)
        # After this time, a replay is rejected for its timestamp.
        self._expiries.append((max(now, claim.timestamp) + _WINDOW, nonce))


def _is_number(annotation: Any) -> bool:
    # The annotation of an optional number is a union that contains Annotated[int, …].
    return any(getattr(part, "__origin__", part) is int for part in (annotation, *get_args(annotation)))


def _parameters(request: ReceivedRequest) -> list[tuple[str, str]]:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    return pairs


def _parse_acs3(request: ReceivedRequest) -> Claim:
    headers = request.headers
    for name in ("authorization", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"):
        if not headers.get(name):
            raise VendorError("MissingParameter", f"The header {name} is mandatory.")
    match = _AUTHORIZATION.fullmatch(headers["authorization"])
    if match is None:
        raise VendorError("IncompleteSignature", "The request signature does not conform to Aliyun standards.")
    return Claim(
        action=headers["x-acs-action"],
        version=headers["x-acs-version"],
        access_key_id=match[1],
        params=dict(_parameters(request)),
        timestamp=_timestamp(headers["x-acs-date"]),
        signature=match[3],
        signed_headers=match[2],
        nonce=headers["x-acs-signature-nonce"],
        security_token=headers.get("x-acs-security-token"),
    )


def _parse_rpc(request: ReceivedRequest) -> Claim:
    params = dict(_parameters(request))
    for name in (*_RPC_PARAMETERS, "Timestamp"):
        if not params.get(name):
            raise VendorError("MissingParameter", f"{name} is mandatory for this action.")
    if (params["SignatureMethod"], params["SignatureVersion"]) != ("HMAC-SHA1", "1.0"):
        raise VendorError("IncompleteSignature", "The request signature does not conform to Aliyun standards.")
    return Claim(
        action=params["Action"],
        version=params["Version"],
        access_key_id=params["AccessKeyId"],
        params=params,
        timestamp=_timestamp(params["Timestamp"]),
        signature=params["Signature"],
        nonce=params["SignatureNonce"],
        security_token=params.get("SecurityToken"),
    )


def _timestamp(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise VendorError(
            "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."
        ) from None


def _signature_matches(request: ReceivedRequest, claim: Claim, secret: str) -> bool:
    if claim.signed_headers is None:
        expected = rpc_signature(request.method, _parameters(request), secret)
        return hmac.compare_digest(expected.encode(), claim.signature.encode())
    signed = set(claim.signed_headers.split(";"))
    required = {"host", *(name for name in request.headers if name.startswith("x-acs-"))}
    body_digest = hashlib.sha256(request.body).hexdigest()
    if not required <= signed <= set(request.headers) or request.headers.get("x-acs-content-sha256") != body_digest:
        return False
    expected = acs3_signature(request, claim, secret)
    return hmac.compare_digest(expected.encode(), claim.signature.encode())


def _answer(fields: dict[str, Any], request_id: str, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    body = json.dumps(fields, ensure_ascii=False).encode()
    return Answer(status, "application/json;charset=utf-8", body, (("x-acs-request-id", request_id), *headers))
