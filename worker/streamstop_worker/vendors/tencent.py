"""Tencent Cloud's protocol: API 3.0, a POST of JSON. TC3-HMAC-SHA256 signs exactly the bytes that are sent.

The API reports errors with HTTP status 200, in ``Response.Error``. Any other status is a fault on the way to the API.

Source: https://www.tencentcloud.com/document/product/647/39078
"""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from streamstop.operations import Meaning, Operation
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import replies
from streamstop_worker.vendors.protocol import Answer, Request, Response

ALGORITHM = "TC3-HMAC-SHA256"
CONTENT_TYPE = "application/json"


def string_to_sign(*, host: str, service: str, body: bytes, timestamp: int) -> str:
    """Return what TC3 signs for a POST of `body` to ``/``; `timestamp` is in Unix seconds."""
    request = (
        f"POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\n\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
    )
    scope = f"{_date(timestamp)}/{service}/tc3_request"
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"


def sign_tc3(*, host: str, service: str, body: bytes, timestamp: int, key_id: str, secret: str) -> str:
    """Return the ``Authorization`` of a POST of `body` to ``/``, with the content type ``application/json``.

    `timestamp` is in Unix seconds. ``X-TC-Timestamp`` must be the same.
    """
    key = f"TC3{secret}".encode()
    for part in (_date(timestamp), service, "tc3_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    to_sign = string_to_sign(host=host, service=service, body=body, timestamp=timestamp)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    scope = f"{_date(timestamp)}/{service}/tc3_request"
    return f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders=content-type;host, Signature={signature}"


def _date(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")


class Tencent:
    """Signs, builds and reads calls of Tencent Cloud's API 3.0."""

    def build(self, operation: Operation, account: Account, *, now: datetime, nonce: str) -> Request:  # noqa: ARG002
        """Return the signed request of one attempt.

        TC3 has no nonce. `now` is aware, and within 5 minutes of the vendor's clock.
        """
        product = operation.spec.product
        origin = account.origin(product.host)
        host = origin.partition("://")[2]
        body = json.dumps(operation.params).encode()
        timestamp = int(now.timestamp())
        headers = {
            "Host": host,
            "Content-Type": CONTENT_TYPE,
            "X-TC-Action": operation.spec.action,
            "X-TC-Version": product.version,
            "X-TC-Timestamp": str(timestamp),
            "Authorization": sign_tc3(
                host=host,
                service=product.name,
                body=body,
                timestamp=timestamp,
                key_id=account.access_key_id,
                secret=account.access_key_secret,
            ),
        }
        if account.region is not None:
            headers["X-TC-Region"] = account.region
        if account.security_token is not None:
            headers["X-TC-Token"] = account.security_token
        return Request("POST", f"{origin}/", headers, body, account.secrets)

    def parse(self, operation: Operation, response: Response) -> Answer:
        """Return what `response` means. Never raises, whatever bytes the body contains."""
        reply: Any = (replies.json_object(response) or {}).get("Response")
        fields: dict[str, Any] = reply if isinstance(reply, dict) else {}
        request_id = replies.name(fields.get("RequestId"))
        error = fields.get("Error")
        details = error if isinstance(error, dict) else {}
        code, message = replies.name(details.get("Code")), replies.message(details.get("Message"))
        if response.status != 200:
            meaning, known = replies.by_status(response.status)
            message = f"{code}: {message}" if code and message else code
            return Answer(meaning, f"HTTP {response.status}", message, request_id, known=known, in_doubt=code is None)
        if not isinstance(reply, dict):
            problem = "the reply is not a JSON object with a Response"
            return Answer(Meaning.TRANSIENT, "BadReply", problem, in_doubt=True)
        if error is None:
            return Answer(None, request_id=request_id, reply=reply)
        if code is None:
            return Answer(Meaning.TRANSIENT, "BadReply", "the reply's Error has no Code", request_id, known=False)
        listed = operation.spec.meaning(code)
        return Answer(listed or Meaning.TRANSIENT, code, message, request_id, known=listed is not None)
