"""The forms of a signature that the simulator accepts, checked against the vendors' SDKs; and what it records."""

import hashlib
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop.operations import StopLivePullToPush
from streamstop_simulator.messages import Answer, ReceivedRequest
from streamstop_worker.accounts import Account
from tests.support.accounts import at_vendors
from tests.support.signed_calls import EVERY, INGEST, MPU, signed_by_hand, vendors_with, with_headers
from tests.support.simulated_vendors import LIVE, LIVE_STS, LIVE_V1, TRTC, Vendors, code


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
def test_a_signature_is_verified_over_the_decoded_query_for_any_text(text: str) -> None:
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
    shown = repr(calls) + repr(vendors.simulation.__dict__)
    for secret in ("sts-secret", "sts-token", "live-secret", "Signature="):
        assert secret not in shown


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
