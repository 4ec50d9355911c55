"""What passes between the server and the simulated vendors: plain data, no sockets.

::

    Arrival ──read──▶ Claim ──authenticate, limit, fault, carry out──▶ Answer
                        └── or a Refusal, in the vendor's own words
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came. Header names are lower case; repeated headers are joined by commas.

    Both times are of the moment at which the request's head was complete: what a vendor's limit counts.
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
    """What a call says of itself; nothing of it is believed before the signature was checked."""

    action: str
    version: str
    access_key_id: str
    #: None where the body could not be read.
    params: Mapping[str, Any] | None
    #: Seconds since the epoch.
    timestamp: float
    signature: str = field(repr=False)
    #: The names of the signed headers, as they were sent. None for Alibaba's RPC signature, which signs parameters.
    signed_headers: str | None = None
    nonce: str | None = None
    security_token: str | None = field(default=None, repr=False)


class Spoil(StrEnum):
    """What happens to an answer on its way."""

    RESET = "reset"
    """The connection is reset (RST) instead."""
    HALF_BODY = "half_body"
    """The connection is closed after half the body."""
    HANG = "hang"
    """Nothing is sent, and the connection stays open until the caller leaves."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and how it is sent."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    #: Milliseconds between the arrival and the sending.
    delay_ms: float = 0
    spoil: Spoil | None = None


class Refusal(Exception):
    """The vendor says no, with its own code. Without a `status`, it is the vendor's usual: Alibaba 400, Tencent 200."""

    def __init__(
        self, code: str, message: str, status: int | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers
