"""Requests and answers between the HTTP server and the simulated vendors: values without I/O.

::

    ReceivedRequest ──parse──▶ Claim ──authenticate, limit, fault, carry out──▶ Answer
                        └── or a VendorError, in the vendor's format
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """An HTTP request. Header names are lower case; repeated headers are joined by commas.

    Both times are when the request's headers were complete. The rate limits use this moment.
    """

    method: str
    path: str
    #: The query as it was sent, still encoded.
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    #: Seconds since the epoch.
    epoch: float
    #: Seconds of the monotonic clock.
    at: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The parsed content of a call. It is not trusted before the signature is checked."""

    action: str
    version: str
    access_key_id: str
    #: None if the body could not be parsed.
    params: Mapping[str, Any] | None
    #: Seconds since the epoch.
    timestamp: float
    signature: str = field(repr=False)
    #: The names of the signed headers, as received. None for Alibaba's RPC signature, which signs parameters.
    signed_headers: str | None = None
    nonce: str | None = None
    security_token: str | None = field(default=None, repr=False)


class TransportFault(StrEnum):
    """How the connection fails while an answer is sent."""

    RESET = "reset"
    """The connection is reset (RST); nothing is sent."""
    HALF_BODY = "half_body"
    """The connection is closed after half the body."""
    HANG = "hang"
    """Nothing is sent; the connection stays open until the caller closes it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, and how it is sent."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    #: Milliseconds to wait before the answer is sent.
    delay_ms: float = 0
    transport_fault: TransportFault | None = None


class VendorError(Exception):
    """A vendor's error. Without `status`, the HTTP status is the vendor's default: Alibaba 400, Tencent 200."""

    def __init__(
        self, code: str, message: str, status: int | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers
