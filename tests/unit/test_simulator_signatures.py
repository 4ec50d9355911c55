"""The simulator accepts what is signed right, and refuses everything else in the vendor's own words."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop.operations import Operation, StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_simulator.messages import Answer, ReceivedRequest
from streamstop_worker.accounts import Account
from tests.support import oracles
from tests.support.accounts import at_vendors
from tests.support.simulated import LIVE, LIVE_STS, LIVE_V1, TRTC, TRTC_STS, Vendors, code

MPU = StopMPUTask(app_id="app", task_id="t 1+/=*~é")
INGEST = StopStreamIngest(sdk_app_id=1400000000, task_id="a+/=.")
EVERY = [(LIVE, MPU), (LIVE_V1, MPU), (LIVE_STS, MPU), (TRTC, INGEST), (TRTC_STS, INGEST)]
IDS = [account.name for account, _ in EVERY]
ALIYUN, TENCENT = EVERY[:3], EVERY[3:]


def vendors_with(account: Account, operation: Operation) -> Vendors:
    vendors = Vendors()
    vendors.start(account, operation)
    return vendors


def with_headers(arrival: ReceivedRequest, **changes: str | None) -> ReceivedRequest:
    """Return the call with headers changed (``x_acs_date=…``) or, for None, left out."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    kept = {name: value for name, value in arrival.headers.items() if name not in named}
    return replace(arrival, headers=kept | {name: value for name, value in named.items() if value is not None})


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


def with_body(call: ReceivedRequest, body: bytes) -> ReceivedRequest:
    return replace(with_headers(call, x_acs_content_sha256=hashlib.sha256(body).hexdigest()), body=body)


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
    kept = "&".join(pair for pair in call.query.split("&") if not pair.startswith(f"{name}="))

    answer = vendors.send(replace(call, query=kept))

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


def signed_by_hand(call: ReceivedRequest, signed: str) -> ReceivedRequest:
    """Return a call to Tencent signed anew over the headers `signed`, in lower case as the vendor's page has it."""
    date = call.headers["authorization"].split("/")[1]
    lines = "".join(f"{name}:{call.headers[name].lower()}\n" for name in signed.split(";"))
    canonical = f"POST\n/\n\n{lines}\n{signed}\n{hashlib.sha256(call.body).hexdigest()}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"TC3-HMAC-SHA256\n{call.headers['x-tc-timestamp']}\n{date}/trtc/tc3_request\n{digest}"
    signature = oracles.tencent_tc3(TRTC.access_key_secret, date, "trtc", text)
    credential = f"{TRTC.access_key_id}/{date}/trtc/tc3_request"
    authorization = f"TC3-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    return with_headers(call, authorization=authorization)


def test_tencent_honours_the_list_of_signed_headers() -> None:
    vendors = vendors_with(TRTC, INGEST)
    call = signed_by_hand(vendors.sign(TRTC, INGEST), "content-type;host;x-tc-action")

    assert code(vendors.send(with_headers(call, x_tc_action="DescribeStreamIngest"))) == "AuthFailure.SignatureFailure"
    assert code(vendors.send(call)) is None


@pytest.mark.parametrize("signed", ["content-type", "host", "content-type;host;x-tc-absent"])
def test_tencent_wants_content_type_and_host_signed_and_nothing_that_was_not_sent(signed: str) -> None:
    vendors = vendors_with(TRTC, INGEST)
    call = with_headers(vendors.sign(TRTC, INGEST), x_tc_absent="")

    forged = with_headers(signed_by_hand(call, signed), x_tc_absent=None)

    assert code(vendors.send(forged)) == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize("body", [b"{", b'["TaskId"]', b"\xff"])
def test_tencent_says_of_a_body_that_is_no_json_object_only_once_its_signature_is_right(body: bytes) -> None:
    vendors = Vendors()
    call = replace(vendors.sign(TRTC, INGEST), body=body)

    assert code(vendors.send(call)) == "AuthFailure.SignatureFailure"
    assert code(vendors.send(signed_by_hand(call, "content-type;host"))) == "InvalidParameter.BodyParamsError"


def test_alibaba_takes_the_older_signature_in_a_form_body_too() -> None:
    vendors = vendors_with(LIVE_V1, MPU)
    call = vendors.sign(LIVE_V1, MPU)
    in_body = replace(
        with_headers(call, content_type="application/x-www-form-urlencoded"), query="", body=call.query.encode()
    )

    assert code(vendors.send(in_body)) is None


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(str.strip))
def test_whatever_the_text_of_a_parameter_its_signature_is_derived_from_what_was_sent(text: str) -> None:
    """Spaces may come as + or as %20: the query is decoded first, as the vendor does it."""
    vendors = Vendors()
    stop = StopLivePullToPush(region="cn-shanghai", task_id=text)
    vendors.start(LIVE, stop)
    call = vendors.sign(LIVE, stop)
    plus = urlencode({"TaskId": text, "Region": "cn-shanghai"})
    percent = f"Region=cn-shanghai&TaskId={quote(text, safe='')}"

    assert code(vendors.send(replace(call, query=plus))) is None
    vendors.start(LIVE, stop)
    again = vendors.sign(LIVE, stop)
    assert code(vendors.send(replace(again, query=percent))) is None


def test_the_vector_of_the_official_sdk_is_accepted_and_a_byte_of_difference_is_not() -> None:
    """The vector of our notes; its account, time and parameters are its own."""
    digest = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": "live.aliyuncs.com",
        "x-acs-action": "StopLivePullToPush",
        "x-acs-version": "2016-11-01",
        "x-acs-date": "2025-01-02T03:04:05Z",
        "x-acs-signature-nonce": "n-1",
        "x-acs-content-sha256": digest,
    }
    signature = "9274b79401853504efcb118ea03e39c3a0cfd2a3b13548737f167f378117c710"
    authorization = (
        f"ACS3-HMAC-SHA256 Credential=testid,SignedHeaders={';'.join(sorted(headers))},Signature={signature}"
    )
    vendors = Vendors()
    vendors.simulation.add_accounts(at_vendors([Account("vector", "aliyun", "testid", "testsecret")]))
    call = ReceivedRequest(
        "GET", "/", "Region=cn-shanghai&TaskId=t%201", headers | {"authorization": authorization}, b"", vendors.epoch, 0
    )

    assert code(vendors.send(replace(call, query="Region=cn-shanghai&TaskId=t%202"))) == "SignatureDoesNotMatch"
    assert code(vendors.send(call)) == "CodeTaskNotExist"


def test_the_journal_names_the_account_that_a_refused_call_claims_to_be_and_holds_no_secret() -> None:
    vendors = Vendors()
    vendors.send(vendors.sign(replace(LIVE_STS, access_key_secret="another"), MPU))
    vendors.send(vendors.sign(LIVE_STS, MPU))
    vendors.send(vendors.sign(LIVE_V1, MPU))

    calls = list(vendors.simulation.journal.since(0))

    assert [(call.account, call.authenticated) for call in calls] == [
        ("live-sts", False),
        ("live-sts", True),
        ("live-v1", True),
    ]
    told = repr(calls) + repr(vendors.simulation.__dict__)
    for secret in ("sts-secret", "sts-token", "live-secret", "Signature="):
        assert secret not in told


def test_something_else_is_a_call_to_no_vendor() -> None:
    vendors = Vendors()

    assert vendors.simulation.answer(ReceivedRequest("GET", "/", "", {"host": "x"}, b"", vendors.epoch, 0)) is None


def test_no_answer_repeats_a_secret() -> None:
    vendors = Vendors()
    answers: list[Answer] = [
        vendors.send(vendors.sign(replace(account, access_key_secret="wrong-secret"), operation))
        for account, operation in EVERY
    ]

    for account, _ in EVERY:
        for answer in answers:
            assert account.access_key_secret.encode() not in answer.body
            assert (account.security_token or "no token").encode() not in answer.body
