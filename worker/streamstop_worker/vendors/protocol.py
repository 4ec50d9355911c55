"""The interface of a vendor's protocol: pure functions from operations to requests, and from responses to answers.

This package does no I/O and uses neither a clock nor randomness: its callers pass the time and the nonce.

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
    """A signed HTTP request. Exactly these bytes are sent. Its ``repr`` omits the parts that contain the signature."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = b""
    #: The credentials that signed it. Where a response repeats one of them, it is masked.
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def host(self) -> str:
        """The host, with its port if the address has one: all of the address that may be shown."""
        # Not with httpx.URL: a traceback would show it with the query, which holds the signature.
        return self.url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]


@dataclass(frozen=True)
class Response:
    """An HTTP response. Header names are lower case. Its ``repr`` omits the parts that may repeat the request."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: When the request's last byte was written, in seconds of the monotonic clock.
    sent_at: float | None = None
    #: The request's :attr:`Request.secrets`.
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Answer:
    """What the vendor's response means for the job.

    `meaning` is None if the call succeeded. A connection fault is an answer too: it is transient, and has a code of our
    own such as ``ConnectTimeout``.
    """

    meaning: Meaning | None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    #: How long the vendor asks to wait before the next call.
    retry_after: timedelta | None = None
    #: The reply's fields, if the call succeeded.
    reply: dict[str, Any] = field(default_factory=dict)
    #: False if no table lists the code. The answer is then transient, and logged as an error.
    known: bool = True
    #: Whether the vendor may have executed the call although no readable answer of its own arrived.
    in_doubt: bool = False


class VendorProtocol(Protocol):
    """Builds and signs one vendor's requests, and reads its responses."""

    def build(self, operation: Operation, account: Account, *, now: datetime, nonce: str) -> Request:
        """Return the signed request of one attempt. `nonce` must be new for every attempt; `now` is aware, UTC."""
        ...

    def parse(self, operation: Operation, response: Response) -> Answer:
        """Return what `response` means. Never raises, whatever bytes the body contains."""
        ...
