"""What a vendor's protocol is: pure functions from a command to a request, and from a response to an answer.

No I/O, no clock and no randomness in this package: the moment and the nonce are given.

::

    Operation + Account ──build──▶ Request ──(transport)──▶ Response ──parse──▶ Answer
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from streamstop.operations import Meaning, Operation
from streamstop_worker.accounts import Account


@dataclass(frozen=True)
class Request:
    """An HTTP request, signed: exactly these bytes are sent. Its ``repr`` leaves out what carries the signature."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = b""
    #: The credentials that it was signed with: what a response repeats of them is blotted out.
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Response:
    """What came back. Header names are lower case. Its ``repr`` leaves out what may repeat the request."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: When the request's last byte was written, by the monotonic clock in s.
    sent_at: float | None = None
    #: Those of the request.
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Answer:
    """What the vendor's response says of the job.

    `meaning` is None where the vendor did what it was asked. A fault of the connection is an answer too: transient,
    with a code of our own such as ``ConnectTimeout``.
    """

    meaning: Meaning | None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    #: How long the vendor asks to wait before the next call.
    retry_after: timedelta | None = None
    #: The reply's fields, of a call that succeeded.
    reply: dict[str, Any] = field(default_factory=dict)
    #: False for a code that no table lists: it is treated as transient, and logged loudly.
    known: bool = True
    #: Whether the vendor may have carried the call out: its own answer did not come, or cannot be read.
    in_doubt: bool = False


class VendorProtocol(Protocol):
    """How one vendor signs, builds and answers."""

    def build(self, operation: Operation, account: Account, *, now: datetime, nonce: str) -> Request:
        """Return the signed request of one attempt. `nonce` must be new for every attempt; `now` is aware, UTC."""
        ...

    def parse(self, operation: Operation, response: Response) -> Answer:
        """Return what `response` means. Never raises, whatever the bytes."""
        ...
