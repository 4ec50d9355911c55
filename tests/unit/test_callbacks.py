"""Callbacks: a receiver can verify what a worker signed, and nothing else passes."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from streamstop.callbacks import TOLERANCE, sign, verify

SIGNED_AT = 1_767_225_600
NOW = datetime.fromtimestamp(SIGNED_AT, UTC)
BODY = '{"room":"Küche","status":"done"}'.encode()
HEADER = sign("secret", SIGNED_AT, BODY)


def test_the_signature_is_the_hmac_of_moment_and_body_as_any_language_computes_it() -> None:
    expected = hmac.new(b"secret", b"1767225600." + BODY, hashlib.sha256).hexdigest()
    assert sign("secret", SIGNED_AT, BODY) == f"t=1767225600,v1={expected}"


@pytest.mark.parametrize("off", [-TOLERANCE, timedelta(0), TOLERANCE])
def test_a_recent_signature_is_accepted(off: timedelta) -> None:
    assert verify("secret", HEADER, BODY, now=NOW + off)


@pytest.mark.parametrize("off", [-TOLERANCE - timedelta(seconds=1), TOLERANCE + timedelta(seconds=1)])
def test_a_signature_from_long_ago_or_the_future_is_refused(off: timedelta) -> None:
    assert not verify("secret", HEADER, BODY, now=NOW + off)


def test_another_secret_another_body_and_another_moment_are_not_believed() -> None:
    assert not verify("other", HEADER, BODY, now=NOW)
    assert not verify("secret", HEADER, BODY + b" ", now=NOW)
    assert not verify("secret", HEADER.replace("t=1767225600", "t=1767225601"), BODY, now=NOW)


def test_an_empty_secret_believes_nothing() -> None:
    assert not verify("", sign("", SIGNED_AT, BODY), BODY, now=NOW)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=",
        "t=1767225600",
        "v1=abc",
        "t=1767225600,v1=",
        "t=x,v1=y",
        "t=-1,v1=y",
        "t=" + "9" * 5000,
        "t=²,v1=ü",
    ],
)
def test_a_header_that_cannot_be_read_is_not_believed(header: str | None) -> None:
    assert not verify("secret", header, BODY, now=NOW)


def test_a_receiver_accepts_spaces_and_a_second_signature_beside_the_valid_one() -> None:
    moment, _, right = HEADER.partition(",")
    assert verify("secret", f"{moment}, v1=ü0, {right}, v2=later", BODY, now=NOW)


def test_now_is_the_receivers_clock_where_none_is_given() -> None:
    fresh = int(datetime.now(UTC).timestamp())
    assert verify("secret", sign("secret", fresh, BODY), BODY)
    assert not verify("secret", HEADER.replace(str(SIGNED_AT), "1000000000"), BODY)
