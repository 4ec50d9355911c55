"""Signatures and requests are, byte for byte, those of the vendors' official SDKs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamstop.operations import (
    OPERATIONS,
    GetMPUTaskStatus,
    Operation,
    StopLivePullToPush,
    StopMPUTask,
    StopStreamIngest,
)
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.aliyun import canonical_query, sign_v1, sign_v3
from streamstop_worker.vendors.protocol import Request
from streamstop_worker.vendors.tencent import sign_tc3, string_to_sign
from tests.support import sdk_signatures

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
LIVE = Account("live-cn", "aliyun", "testid", "testsecret")
TRTC = Account("trtc-sg", "tencent", "AKIDtest", "testsecret", region="ap-singapore")

#: Any text that UTF-8 can hold, and those characters that encoders disagree about.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text("+/=*~ %&?#é漢🎬'\"._-", max_size=20)
#: Names as vendors give them: Alibaba's SDK forgets to encode others, though the vendor's page wants it.
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._]{0,20}", fullmatch=True)
PARAMS = st.dictionaries(NAMES, TEXT, max_size=6)
VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
METHODS = st.sampled_from(["GET", "POST"])
TRICKY = {"TaskId": "t 1", "a": "*~", "B": "", "c": "+/=", "d": "漢字 🎬"}


def v3_headers(token: str | None = None) -> dict[str, str]:
    headers = {
        "host": "live.aliyuncs.com",
        "x-acs-action": "StopLivePullToPush",
        "x-acs-version": "2016-11-01",
        "x-acs-date": "2025-01-02T03:04:05Z",
        "x-acs-signature-nonce": "n-1",
        "x-acs-content-sha256": EMPTY_SHA256,
    }
    return headers if token is None else {**headers, "x-acs-security-token": token}


def query_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True))


def test_v3_signs_the_recorded_vector_as_alibaba_does() -> None:
    authorization = sign_v3(
        "GET", "Region=cn-shanghai&TaskId=t%201", v3_headers(), key_id="testid", secret="testsecret"
    )
    assert authorization == (
        "ACS3-HMAC-SHA256 Credential=testid,"
        "SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,"
        "Signature=9274b79401853504efcb118ea03e39c3a0cfd2a3b13548737f167f378117c710"
    )


@given(METHODS, PARAMS, VISIBLE, TEXT, st.none() | VISIBLE)
@example("POST", TRICKY, "testid", "s+/= é", "token+/=")
@example("GET", {}, "testid", "testsecret", None)
def test_v3_signs_whatever_parameters_as_the_official_sdk_does(
    method: str, params: Mapping[str, str], key_id: str, secret: str, token: str | None
) -> None:
    ours = sign_v3(method, canonical_query(params), v3_headers(token), key_id=key_id, secret=secret)
    assert ours == sdk_signatures.aliyun_v3(method, params, v3_headers(token), key_id, secret)


@given(METHODS, PARAMS, TEXT)
@example("POST", TRICKY, "s+/= é")
@example("GET", {}, "testsecret")
def test_v1_signs_whatever_parameters_as_the_official_sdk_does(
    method: str, params: Mapping[str, str], secret: str
) -> None:
    assert sign_v1(method, params, secret=secret) == sdk_signatures.aliyun_v1(method, params, secret)


@given(
    st.binary(max_size=200),
    st.integers(min_value=0, max_value=4_000_000_000),
    VISIBLE,
    TEXT,
    st.sampled_from(["trtc.tencentcloudapi.com", "127.0.0.1:8080"]),
)
@example(b"{}", 1_735_689_599, "AKIDtest", "testsecret", "trtc.tencentcloudapi.com")  # a second before a new date
@example(b"{}", 1_735_689_600, "AKIDtest", "testsecret", "trtc.tencentcloudapi.com")
def test_tc3_signs_whatever_body_as_the_official_sdk_does(
    body: bytes, timestamp: int, key_id: str, secret: str, host: str
) -> None:
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    to_sign = string_to_sign(host=host, service="trtc", body=body, timestamp=timestamp)
    signature = sdk_signatures.tencent_tc3(secret, date, "trtc", to_sign)
    assert sign_tc3(host=host, service="trtc", body=body, timestamp=timestamp, key_id=key_id, secret=secret) == (
        f"TC3-HMAC-SHA256 Credential={key_id}/{date}/trtc/tc3_request, "
        f"SignedHeaders=content-type;host, Signature={signature}"
    )


@given(task_id=TEXT, number=st.integers(1, 2**63 - 1), token=st.none() | VISIBLE)
@example(task_id="a+/=.b*~ 漢", number=1234567890, token="token+/=")
def test_tc3_authorizes_the_request_that_the_official_sdk_sends(task_id: str, number: int, token: str | None) -> None:
    headers, body = sdk_signatures.tencent_request(
        "StopStreamIngest",
        {"SdkAppId": number, "TaskId": task_id},
        key_id="AKIDtest",
        secret="testsecret",
        token=token,
        region="ap-singapore",
    )
    assert headers["Authorization"] == sign_tc3(
        host=headers["Host"],
        service="trtc",
        body=body,
        timestamp=int(headers["X-TC-Timestamp"]),
        key_id="AKIDtest",
        secret="testsecret",
    )


@pytest.mark.parametrize(
    ("operation", "method"),
    [
        (StopMPUTask(app_id="app", task_id="t 1*~+/="), "POST"),
        (StopLivePullToPush(region="cn-shanghai", task_id="漢字"), "GET"),
    ],
)
@pytest.mark.parametrize("token", [None, "token+/="])
def test_a_v3_request_carries_its_parameters_in_the_query_and_signs_every_header_of_the_vendor(
    operation: Operation, method: str, token: str | None
) -> None:
    request = PROTOCOLS["aliyun"].build(operation, replace(LIVE, security_token=token), now=NOW, nonce="n-1")
    assert (request.method, request.body) == (method, b"")
    assert request.url.startswith("https://live.aliyuncs.com/?")
    assert query_of(request) == operation.params
    signed = {name: value for name, value in request.headers.items() if name == "host" or name.startswith("x-acs-")}
    assert signed == v3_headers(token) | {"x-acs-action": operation.spec.action}
    assert request.headers["accept"] == "application/json"
    assert request.headers["authorization"] == sdk_signatures.aliyun_v3(
        method, query_of(request), signed, "testid", "testsecret"
    )


@pytest.mark.parametrize("token", [None, "token+/="])
def test_a_v1_request_carries_everything_in_the_query(token: str | None) -> None:
    operation = GetMPUTaskStatus(app_id="app", task_id="t 1*~+/=漢")
    account = replace(LIVE, signature="v1", security_token=token)
    request = PROTOCOLS["aliyun"].build(operation, account, now=NOW, nonce="n-1")
    params = query_of(request)
    signature = params.pop("Signature")
    assert (request.method, request.body) == ("POST", b"")
    assert signature == sdk_signatures.aliyun_v1("POST", params, "testsecret")
    assert request.headers == {"host": "live.aliyuncs.com", "accept": "application/json"}
    assert params == {
        "AppId": "app",
        "TaskId": "t 1*~+/=漢",
        "Action": "GetMPUTaskStatus",
        "Version": "2016-11-01",
        "Format": "JSON",
        "AccessKeyId": "testid",
        "SignatureNonce": "n-1",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "Timestamp": "2025-01-02T03:04:05Z",
    } | ({} if token is None else {"SecurityToken": token})


@pytest.mark.parametrize("token", [None, "token"])
def test_a_tencent_request_signs_exactly_the_body_that_it_sends(token: str | None) -> None:
    operation = StopStreamIngest(sdk_app_id=1234567890, task_id="a+/=.漢")
    request = PROTOCOLS["tencent"].build(operation, replace(TRTC, security_token=token), now=NOW, nonce="unused")
    assert (request.method, request.url) == ("POST", "https://trtc.tencentcloudapi.com/")
    assert json.loads(request.body) == {"SdkAppId": 1234567890, "TaskId": "a+/=.漢"}
    to_sign = string_to_sign(host="trtc.tencentcloudapi.com", service="trtc", body=request.body, timestamp=1735787045)
    signature = sdk_signatures.tencent_tc3("testsecret", "2025-01-02", "trtc", to_sign)
    assert request.headers == {
        "Host": "trtc.tencentcloudapi.com",
        "Content-Type": "application/json",
        "X-TC-Action": "StopStreamIngest",
        "X-TC-Version": "2019-07-22",
        "X-TC-Timestamp": "1735787045",
        "X-TC-Region": "ap-singapore",
        "Authorization": "TC3-HMAC-SHA256 Credential=AKIDtest/2025-01-02/trtc/tc3_request, "
        f"SignedHeaders=content-type;host, Signature={signature}",
    } | ({} if token is None else {"X-TC-Token": token})


@pytest.mark.parametrize(
    ("account", "operation", "header"),
    [
        (LIVE, StopMPUTask(app_id="a", task_id="t"), "host"),
        (replace(LIVE, signature="v1"), StopMPUTask(app_id="a", task_id="t"), "host"),
        (TRTC, StopStreamIngest(sdk_app_id=1, task_id="t"), "Host"),
    ],
)
def test_the_accounts_endpoint_is_called_and_its_host_signed_with_the_port(
    account: Account, operation: Operation, header: str
) -> None:
    account = replace(account, endpoint="http://127.0.0.1:8080")
    request = PROTOCOLS[account.vendor].build(operation, account, now=NOW, nonce="n-1")
    assert request.url.startswith("http://127.0.0.1:8080/")
    assert request.headers[header] == "127.0.0.1:8080"


@pytest.mark.parametrize("account", [LIVE, replace(LIVE, signature="v1")])
def test_a_moment_of_another_zone_is_signed_as_utc(account: Account) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=8)))
    operation = StopMPUTask(app_id="a", task_id="t")
    build = PROTOCOLS["aliyun"].build
    assert build(operation, account, now=elsewhere, nonce="n") == build(operation, account, now=NOW, nonce="n")


@pytest.mark.parametrize("account", [LIVE, replace(LIVE, signature="v1")])
def test_another_nonce_makes_another_signature(account: Account) -> None:
    operation = StopMPUTask(app_id="a", task_id="t")
    build = PROTOCOLS["aliyun"].build
    assert build(operation, account, now=NOW, nonce="n-1") != build(operation, account, now=NOW, nonce="n-2")


def test_every_vendor_of_an_operation_has_a_protocol() -> None:
    assert {cls.spec.product.vendor.name for cls in OPERATIONS.values()} == set(PROTOCOLS)


def test_without_a_region_tencent_is_sent_none() -> None:
    account = replace(TRTC, region=None)
    request = PROTOCOLS["tencent"].build(StopStreamIngest(sdk_app_id=1, task_id="t"), account, now=NOW, nonce="n")
    assert "X-TC-Region" not in request.headers
