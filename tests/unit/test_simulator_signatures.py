"""The simulator accepts correctly signed calls, and refuses all others with the vendor's own errors."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamstop.operations import Operation
from streamstop_simulator.messages import ReceivedRequest
from streamstop_worker.accounts import Account
from tests.support.signed_calls import ALIYUN, EVERY, IDS, INGEST, MPU, vendors_with, with_body, with_headers
from tests.support.simulated_vendors import LIVE, LIVE_STS, LIVE_V1, TRTC, TRTC_STS, Vendors, code


@pytest.mark.parametrize(("account", "operation"), EVERY, ids=IDS)
def test_a_call_that_the_worker_signs_is_accepted(account: Account, operation: Operation) -> None:
    vendors = vendors_with(account, operation)

    assert code(vendors.send(vendors.sign(account, operation))) is None


@pytest.mark.parametrize(("account", "operation"), EVERY, ids=IDS)
def test_a_wrong_secret_is_refused(account: Account, operation: Operation) -> None:
    vendors = vendors_with(account, operation)
    impostor = replace(account, access_key_secret="another")

    refused = code(vendors.send(vendors.sign(impostor, operation)))

    assert refused == ("SignatureDoesNotMatch" if account.vendor == "aliyun" else "AuthFailure.SignatureFailure")
    assert vendors.simulation.journal.refusals[str(refused)] == 1
    assert not vendors.simulation.journal.lanes


@pytest.mark.parametrize(("account", "operation"), EVERY, ids=IDS)
def test_an_access_key_that_no_account_has_is_refused(account: Account, operation: Operation) -> None:
    vendors = vendors_with(account, operation)
    stranger = replace(account, access_key_id="nobodys")

    answer = vendors.send(vendors.sign(stranger, operation))

    expected = (404, "InvalidAccessKeyId.NotFound")
    assert (answer.status, code(answer)) == (
        expected if account.vendor == "aliyun" else (200, "AuthFailure.SecretIdNotFound")
    )


def test_a_key_of_one_vendor_is_not_known_at_the_other() -> None:
    vendors = Vendors()
    stranger = replace(TRTC, access_key_id=LIVE.access_key_id, access_key_secret=LIVE.access_key_secret)

    assert code(vendors.send(vendors.sign(stranger, INGEST))) == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize(("account", "operation"), EVERY, ids=IDS)
@pytest.mark.parametrize("direction", [-1, 1])
def test_the_timestamp_must_lie_in_the_vendors_window(account: Account, operation: Operation, direction: int) -> None:
    vendors = vendors_with(account, operation)
    window = 15 * 60 if account.vendor == "aliyun" else 5 * 60
    at_the_edge = vendors.sign(account, operation, signed_at=vendors.epoch + direction * window)
    beyond = vendors.sign(account, operation, signed_at=vendors.epoch + direction * (window + 1))

    assert code(vendors.send(at_the_edge)) is None
    assert code(vendors.send(beyond)) in {"InvalidTimeStamp.Expired", "AuthFailure.SignatureExpire"}


@pytest.mark.parametrize(("account", "operation"), ALIYUN, ids=IDS[:3])
def test_a_nonce_is_taken_once(account: Account, operation: Operation) -> None:
    vendors = vendors_with(account, operation)
    call = vendors.sign(account, operation)
    vendors.send(call)

    assert code(vendors.send(call)) == "SignatureNonceUsed"


def test_a_nonce_is_remembered_for_as_long_as_its_timestamp_is_accepted() -> None:
    vendors = vendors_with(LIVE, MPU)
    call = vendors.sign(LIVE, MPU, signed_at=vendors.epoch + 15 * 60)
    vendors.send(call)

    vendors.turn(30 * 60)
    other = vendors.sign(LIVE, MPU)
    vendors.send(other)
    assert code(vendors.send(replace(call, epoch=vendors.epoch))) == "SignatureNonceUsed"

    vendors.turn(1)
    vendors.send(vendors.sign(LIVE, MPU))
    assert code(vendors.send(replace(call, epoch=vendors.epoch))) == "InvalidTimeStamp.Expired"


def test_a_call_with_a_wrong_signature_uses_no_nonce_up() -> None:
    vendors = vendors_with(LIVE, MPU)
    call = vendors.sign(LIVE, MPU)
    forged = with_headers(call, authorization=call.headers["authorization"][:-1] + "!")

    assert code(vendors.send(forged)) == "SignatureDoesNotMatch"
    assert code(vendors.send(call)) is None


TAMPERED: list[tuple[str, Account, Callable[[ReceivedRequest], ReceivedRequest]]] = [
    ("query", LIVE, lambda call: replace(call, query=call.query.replace("app", "ape"))),
    ("parameter", LIVE_V1, lambda call: replace(call, query=call.query.replace("app", "ape"))),
    ("another parameter", LIVE, lambda call: replace(call, query=call.query + "&More=1")),
    ("method", LIVE, lambda call: replace(call, method="GET")),
    ("method under v1", LIVE_V1, lambda call: replace(call, method="GET")),
    ("body", LIVE, lambda call: replace(call, body=b"more")),
    ("body and its digest", LIVE, lambda call: with_body(call, b"more")),
    ("action", LIVE, lambda call: with_headers(call, x_acs_action="GetMPUTaskStatus")),
    ("host", LIVE, lambda call: with_headers(call, host="elsewhere")),
    ("unsigned x-acs header", LIVE, lambda call: with_headers(call, x_acs_more="1")),
    ("signed header left out", LIVE, lambda call: with_headers(call, x_acs_content_sha256=None)),
    ("json body", TRTC, lambda call: replace(call, body=call.body.replace(b"1400000000", b"1400000001"))),
    ("content type", TRTC, lambda call: with_headers(call, content_type="text/plain")),
    ("host at tencent", TRTC, lambda call: with_headers(call, host="elsewhere")),
    ("second", TRTC, lambda call: with_headers(call, x_tc_timestamp=str(int(call.headers["x-tc-timestamp"]) + 1))),
    ("day", TRTC, lambda call: with_headers(call, x_tc_timestamp=str(int(call.headers["x-tc-timestamp"]) + 86400))),
]


@pytest.mark.parametrize(("account", "tamper"), [row[1:] for row in TAMPERED], ids=[row[0] for row in TAMPERED])
def test_a_call_that_was_changed_after_it_was_signed_is_refused(
    account: Account, tamper: Callable[[ReceivedRequest], ReceivedRequest]
) -> None:
    operation: Operation = MPU if account.vendor == "aliyun" else INGEST
    vendors = vendors_with(account, operation)

    refused = code(vendors.send(tamper(vendors.sign(account, operation))))

    assert refused == ("SignatureDoesNotMatch" if account.vendor == "aliyun" else "AuthFailure.SignatureFailure")
    assert all(task.stops == 0 for task in vendors.simulation.tasks)


@pytest.mark.parametrize("name", ["x-acs-version", "x-acs-date", "x-acs-signature-nonce", "authorization"])
def test_alibaba_names_the_header_that_is_missing(name: str) -> None:
    vendors = Vendors()
    answer = vendors.send(with_headers(vendors.sign(LIVE, MPU), **{name.replace("-", "_"): None}))

    assert (answer.status, code(answer)) == (400, "MissingParameter")
    assert name in answer.body.decode()


@pytest.mark.parametrize("name", ["x-tc-version", "x-tc-timestamp", "x-tc-action", "authorization"])
def test_tencent_names_the_header_that_is_missing(name: str) -> None:
    vendors = Vendors()
    answer = vendors.send(with_headers(vendors.sign(TRTC, INGEST), **{name.replace("-", "_"): None}))

    assert (answer.status, code(answer)) == (200, "MissingParameter")
    assert name in answer.body.decode()


@pytest.mark.parametrize(
    "name", ["Version", "Timestamp", "SignatureNonce", "SignatureMethod", "Signature", "AccessKeyId"]
)
def test_alibaba_names_the_common_parameter_that_is_missing(name: str) -> None:
    vendors = Vendors()
    call = vendors.sign(LIVE_V1, MPU)
    other_parameters = "&".join(pair for pair in call.query.split("&") if not pair.startswith(f"{name}="))

    answer = vendors.send(replace(call, query=other_parameters))

    assert code(answer) == "MissingParameter"
    assert name in answer.body.decode()


def test_a_signature_in_no_known_form_is_refused_as_such() -> None:
    vendors = Vendors()
    v3 = with_headers(vendors.sign(LIVE, MPU), authorization="ACS3-HMAC-SHA256 whatever")
    v1 = vendors.sign(LIVE_V1, MPU)
    tc3 = with_headers(vendors.sign(TRTC, INGEST), authorization="TC3-HMAC-SHA256 whatever")

    assert code(vendors.send(v3)) == "IncompleteSignature"
    assert code(vendors.send(replace(v1, query=v1.query.replace("HMAC-SHA1", "HMAC-MD5")))) == "IncompleteSignature"
    assert code(vendors.send(tc3)) == "AuthFailure.InvalidAuthorization"


def test_a_time_in_no_known_form_is_refused_as_such() -> None:
    vendors = Vendors()

    v3 = with_headers(vendors.sign(LIVE, MPU), x_acs_date="yesterday")
    tc3 = with_headers(vendors.sign(TRTC, INGEST), x_tc_timestamp="yesterday")

    assert code(vendors.send(v3)) == "InvalidTimeStamp.Format"
    assert code(vendors.send(tc3)) == "InvalidParameterValue"


@pytest.mark.parametrize(("account", "operation"), [(LIVE_STS, MPU), (TRTC_STS, INGEST)], ids=["aliyun", "tencent"])
@pytest.mark.parametrize("token", [None, "another"])
def test_an_account_with_a_token_must_send_it(account: Account, operation: Operation, token: str | None) -> None:
    vendors = vendors_with(account, operation)

    refused = code(vendors.send(vendors.sign(replace(account, security_token=token), operation)))

    words = {
        ("aliyun", None): "MissingSecurityToken",
        ("aliyun", "another"): "InvalidSecurityToken.MismatchWithAccessKey",
        ("tencent", None): "AuthFailure.TokenFailure",
        ("tencent", "another"): "AuthFailure.TokenFailure",
    }
    assert refused == words[account.vendor, token]


def test_a_token_that_the_account_does_not_have_is_refused() -> None:
    vendors = Vendors()
    account = replace(LIVE, security_token="surplus")

    assert code(vendors.send(vendors.sign(account, MPU))) == "InvalidSecurityToken.MismatchWithAccessKey"
