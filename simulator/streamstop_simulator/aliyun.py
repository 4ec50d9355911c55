"""Alibaba Cloud as its callers see it: how a call is recognised, checked and answered.

Two signatures are taken: ACS3-HMAC-SHA256 (headers) and RPC HMAC-SHA1 (parameters, in the query or in a form body).
Errors are ``{"Code", "Message", "RequestId", "HostId"}`` with a 4xx or 5xx status. Replies are JSON, whatever the
parameter ``Format`` says. The checks come in this order: presence, timestamp (15 minutes), access key, token,
signature, nonce.
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
from streamstop_simulator.signatures import acs3_signature, rpc_signature
from streamstop_simulator.wire import Answer, Arrival, Claim, Refusal

_WINDOW = 15 * 60.0
_AUTHORIZATION = re.compile(r"ACS3-HMAC-SHA256\s+Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=(\S+)")
_RPC_PARAMETERS = ("Version", "AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce")


class Aliyun:
    """Alibaba's dialect. It remembers nonces for as long as their timestamps are accepted."""

    name = "aliyun"

    def __init__(self) -> None:
        self._nonces: set[tuple[str, str]] = set()
        self._oldest: deque[tuple[float, tuple[str, str]]] = deque()

    def recognises(self, arrival: Arrival) -> bool:
        """Return whether this looks like a call to Alibaba."""
        if "x-acs-action" in arrival.headers or arrival.headers.get("authorization", "").startswith("ACS3-"):
            return True
        return any(name == "Action" for name, _ in _parameters(arrival))

    def read(self, arrival: Arrival) -> Claim:
        """Return what the call says of itself. Raises :class:`Refusal` where a required part is missing."""
        if "x-acs-action" in arrival.headers or "authorization" in arrival.headers:
            return _read_acs3(arrival)
        return _read_rpc(arrival)

    def authenticate(self, arrival: Arrival, claim: Claim, account: Account | None) -> None:
        """Check everything that a signature proves. Raises :class:`Refusal`."""
        if abs(arrival.epoch - claim.timestamp) > _WINDOW:
            raise Refusal("InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        if account is None:
            raise Refusal("InvalidAccessKeyId.NotFound", "Specified access key is not found.", 404)
        if account.security_token and not claim.security_token:
            raise Refusal("MissingSecurityToken", "SecurityToken is mandatory for this action.")
        if (claim.security_token or None) != (account.security_token or None):
            message = "Specified SecurityToken does not fit the AccessKeyId."
            raise Refusal("InvalidSecurityToken.MismatchWithAccessKey", message)
        if not _genuine(arrival, claim, account.access_key_secret):
            raise Refusal("SignatureDoesNotMatch", "Specified signature is not matched with our calculation.")
        self._use_nonce(arrival.epoch, claim)

    def check(self, operation: type[Operation], claim: Claim, arrival: Arrival) -> dict[str, Any]:
        """Return the operation's own parameters. Raises :class:`Refusal` where a required one is missing.

        Parameters that the operation does not have (``RegionId``, ``OwnerId``) are passed over, as the vendor does.
        """
        del arrival
        given = claim.params or {}
        for field in operation.model_fields.values():
            value = str(given.get(str(field.alias), ""))
            if field.is_required() and not value:
                raise Refusal("MissingParameter", f"{field.alias} is mandatory for this action.")
            if value and not value.isdecimal() and _is_number(field.annotation):
                raise Refusal("InvalidParameter", f"The specified value of {field.alias} is not valid.")
        names = {str(field.alias) for field in operation.model_fields.values()}
        return {name: value for name, value in given.items() if name in names}

    def unknown_action(self, version_known: bool) -> Refusal:
        """Return the vendor's error for an action that it does not have."""
        del version_known
        return Refusal("InvalidApi.NotFound", "Specified api is not found, please check your url and method.", 404)

    def throttled(self, retry_after_ms: int | None) -> Refusal:
        """Return the vendor's error for a call over the limit; the hint is a header that not every API sends."""
        hint = () if retry_after_ms is None else (("x-acs-retry-after", str(retry_after_ms)),)
        return Refusal("Throttling.User", "Request was denied due to user flow control.", 400, hint)

    def reply(self, fields: dict[str, Any], request_id: str, status: int = 200) -> Answer:
        """Return a success."""
        return _answer({"RequestId": request_id, **fields}, request_id, status)

    def refuse(self, refusal: Refusal, request_id: str, host: str) -> Answer:
        """Return an error."""
        error = {"RequestId": request_id, "HostId": host, "Code": refusal.code, "Message": refusal.message}
        return _answer(error, request_id, refusal.status or 400, refusal.headers)

    def _use_nonce(self, now: float, claim: Claim) -> None:
        while self._oldest and self._oldest[0][0] < now:
            self._nonces.discard(self._oldest.popleft()[1])
        nonce = (claim.access_key_id, claim.nonce or "")
        if nonce in self._nonces:
            raise Refusal("SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces.add(nonce)
        # A nonce may be forgotten when a replay of it would be refused for its timestamp.
        self._oldest.append((max(now, claim.timestamp) + _WINDOW, nonce))


def _is_number(annotation: Any) -> bool:
    # An optional number is annotated as a union with an Annotated[int, …] in it.
    return any(getattr(part, "__origin__", part) is int for part in (annotation, *get_args(annotation)))


def _parameters(arrival: Arrival) -> list[tuple[str, str]]:
    pairs = parse_qsl(arrival.query, keep_blank_values=True)
    if arrival.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs += parse_qsl(arrival.body.decode("utf-8", "replace"), keep_blank_values=True)
    return pairs


def _read_acs3(arrival: Arrival) -> Claim:
    headers = arrival.headers
    for name in ("authorization", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"):
        if not headers.get(name):
            raise Refusal("MissingParameter", f"The header {name} is mandatory.")
    match = _AUTHORIZATION.fullmatch(headers["authorization"])
    if match is None:
        raise Refusal("IncompleteSignature", "The request signature does not conform to Aliyun standards.")
    return Claim(
        action=headers["x-acs-action"],
        version=headers["x-acs-version"],
        access_key_id=match[1],
        params=dict(_parameters(arrival)),
        timestamp=_timestamp(headers["x-acs-date"]),
        signature=match[3],
        signed_headers=match[2],
        nonce=headers["x-acs-signature-nonce"],
        security_token=headers.get("x-acs-security-token"),
    )


def _read_rpc(arrival: Arrival) -> Claim:
    params = dict(_parameters(arrival))
    for name in (*_RPC_PARAMETERS, "Timestamp"):
        if not params.get(name):
            raise Refusal("MissingParameter", f"{name} is mandatory for this action.")
    if (params["SignatureMethod"], params["SignatureVersion"]) != ("HMAC-SHA1", "1.0"):
        raise Refusal("IncompleteSignature", "The request signature does not conform to Aliyun standards.")
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
        raise Refusal("InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.") from None


def _genuine(arrival: Arrival, claim: Claim, secret: str) -> bool:
    if claim.signed_headers is None:
        expected = rpc_signature(arrival.method, _parameters(arrival), secret)
        return hmac.compare_digest(expected.encode(), claim.signature.encode())
    signed = set(claim.signed_headers.split(";"))
    required = {"host", *(name for name in arrival.headers if name.startswith("x-acs-"))}
    body_digest = hashlib.sha256(arrival.body).hexdigest()
    if not required <= signed <= set(arrival.headers) or arrival.headers.get("x-acs-content-sha256") != body_digest:
        return False
    expected = acs3_signature(arrival, claim, secret)
    return hmac.compare_digest(expected.encode(), claim.signature.encode())


def _answer(fields: dict[str, Any], request_id: str, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    body = json.dumps(fields, ensure_ascii=False).encode()
    return Answer(status, "application/json;charset=utf-8", body, (("x-acs-request-id", request_id), *headers))
