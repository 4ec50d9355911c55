"""Alibaba Cloud's protocol: RPC-style actions with all parameters in the query and an empty body.

Requests are signed by ACS3-HMAC-SHA256 (``v3``) or by the older RPC HMAC-SHA1 (``v1``). The code in an answer decides
what it means. The HTTP status does not, since it varies for the same code.

Sources: https://help.aliyun.com/en/sdk/product-overview/v3-request-structure-and-signature (v3),
https://help.aliyun.com/en/sdk/product-overview/rpc-mechanism (v1).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from streamstop.operations import Meaning, Operation
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import replies
from streamstop_worker.vendors.protocol import Answer, Request, Response

ALGORITHM_V3 = "ACS3-HMAC-SHA256"
LONGEST_HINT = timedelta(minutes=5)

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_MILLISECONDS = re.compile(r"\s*([0-9]{1,12})\s*")
_TIME_LEFT = re.compile(r"\btimeleft\s*:\s*([0-9]{1,12})\s*(?:,|$)", re.IGNORECASE)


def encode(text: str) -> str:
    """Return `text` percent-encoded by RFC 3986: a space is ``%20``, ``*`` is ``%2A``, ``~`` stays."""
    return quote(text, safe="~")


def canonical_query(params: Mapping[str, str]) -> str:
    """Return the query string that both signatures use: sorted by name, encoded by RFC 3986."""
    return "&".join([f"{encode(name)}={encode(params[name])}" for name in sorted(params)])


def sign_v3(method: str, query: str, headers: Mapping[str, str], *, key_id: str, secret: str) -> str:
    """Return the ``Authorization`` of a request to ``/`` by ACS3-HMAC-SHA256.

    `query` is that of :func:`canonical_query`. `headers` are the headers to sign, under lower-case names: ``host``, and
    every ``x-acs-*`` header that is sent. ``x-acs-content-sha256`` is the hash of the body.
    """
    names = sorted(headers)
    signed = ";".join(names)
    lines = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    request = f"{method}\n/\n{query}\n{lines}\n{signed}\n{headers['x-acs-content-sha256']}"
    to_sign = f"{ALGORITHM_V3}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM_V3} Credential={key_id},SignedHeaders={signed},Signature={signature}"


def sign_v1(method: str, params: Mapping[str, str], *, secret: str) -> str:
    """Return the ``Signature`` of a request by RPC HMAC-SHA1. `params` are all other parameters, also common ones."""
    to_sign = f"{method}&%2F&{encode(canonical_query(params))}"
    digest = hmac.new(f"{secret}&".encode(), to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


class Aliyun:
    """Signs, builds and reads calls of Alibaba Cloud's RPC actions."""

    def build(self, operation: Operation, account: Account, *, now: datetime, nonce: str) -> Request:
        """Return the signed request of one attempt, by the account's signature version.

        `nonce` must be new for every attempt; `now` is aware, UTC, and within 15 minutes of the vendor's clock.
        """
        moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if account.signature == "v1":
            return _build_v1(operation, account, moment, nonce)
        return _build_v3(operation, account, moment, nonce)

    def parse(self, operation: Operation, response: Response) -> Answer:
        """Return what `response` means. Never raises, whatever bytes the body contains."""
        body = replies.json_object(response)
        fields = body or {}
        request_id = replies.name(fields.get("RequestId")) or replies.name(replies.header(response, "x-acs-request-id"))
        code, message = _error(operation, response.status, fields)
        accepted = 200 <= response.status < 300
        if code is None and accepted and body is not None:
            return Answer(None, request_id=request_id, reply=body)
        if code is None and accepted:
            return Answer(Meaning.TRANSIENT, "BadReply", "the reply is not a JSON object", request_id, in_doubt=True)
        meaning = operation.spec.meaning(code) if code is not None else None
        known = meaning is not None
        if meaning is None:
            meaning, known = replies.by_status(response.status)
        return Answer(
            meaning,
            code or f"HTTP {response.status}",
            message,
            request_id,
            _retry_after(response.headers, meaning),
            known=known,
            in_doubt=code is None,
        )


def _params(operation: Operation) -> dict[str, str]:
    return {name: str(value) for name, value in operation.params.items()}


def _build_v3(operation: Operation, account: Account, moment: str, nonce: str) -> Request:
    spec = operation.spec
    origin = account.origin(spec.product.host)
    query = canonical_query(_params(operation))
    headers = {
        "host": origin.partition("://")[2],
        "x-acs-action": spec.action,
        "x-acs-version": spec.product.version,
        "x-acs-date": moment,
        "x-acs-signature-nonce": nonce,
        "x-acs-content-sha256": _EMPTY_SHA256,
    }
    if account.security_token is not None:
        headers["x-acs-security-token"] = account.security_token
    authorization = sign_v3(spec.method, query, headers, key_id=account.access_key_id, secret=account.access_key_secret)
    return Request(
        spec.method,
        f"{origin}/?{query}",
        {**headers, "accept": "application/json", "authorization": authorization},
        secrets=account.secrets,
    )


def _build_v1(operation: Operation, account: Account, moment: str, nonce: str) -> Request:
    spec = operation.spec
    origin = account.origin(spec.product.host)
    params = _params(operation) | {
        "Action": spec.action,
        "Version": spec.product.version,
        "Format": "JSON",
        "AccessKeyId": account.access_key_id,
        "SignatureNonce": nonce,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "Timestamp": moment,
    }
    if account.security_token is not None:
        params["SecurityToken"] = account.security_token
    params["Signature"] = sign_v1(spec.method, params, secret=account.access_key_secret)
    headers = {"host": origin.partition("://")[2], "accept": "application/json"}
    return Request(spec.method, f"{origin}/?{canonical_query(params)}", headers, secrets=account.secrets)


def _error(operation: Operation, status: int, fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the code and the message of an error; the code is None if the body reports no error."""
    code, message = replies.name(fields.get("Code")), replies.message(fields.get("Message"))
    if code is not None and (status >= 400 or "Message" in fields):
        return code, message
    # DescribeLivePullToPush reports errors with status 200, a number and a description.
    number, description = fields.get("RetCode"), fields.get("Description")
    digits = replies.name(str(number)) if isinstance(number, int | str) and not isinstance(number, bool) else None
    if digits is None or digits == "0":
        return None, message
    described = replies.name(description)
    listed = described is not None and operation.spec.meaning(described) is not None
    return described if listed else f"RetCode.{digits}", replies.message(description)


def _retry_after(headers: Mapping[str, str], meaning: Meaning) -> timedelta | None:
    """Return how long the gateway asks to wait, up to five minutes. Zero and malformed hints are ignored."""
    found = _MILLISECONDS.fullmatch(headers.get("x-acs-retry-after", ""))
    if found is None and meaning is Meaning.THROTTLED:  # other answers have this header too, while quota is left
        found = _TIME_LEFT.search(headers.get("x-ratelimit-user-api", ""))
    if found is None or meaning not in {Meaning.THROTTLED, Meaning.TRANSIENT}:
        return None
    return min(timedelta(milliseconds=int(found[1])), LONGEST_HINT) or None
