"""The meaning of Alibaba's replies: every row of the vendor's tables, and arbitrary bytes."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamstop.operations import (
    DescribeLivePullToPush,
    GetMPUTaskStatus,
    Meaning,
    Operation,
    StopEdgeTranscodeJob,
    StopLivePullToPush,
    StopMPUTask,
)
from streamstop_worker.vendors.aliyun import Aliyun
from streamstop_worker.vendors.protocol import Answer, Response

STOP = StopLivePullToPush(region="cn-shanghai", task_id="t")
STATUS = DescribeLivePullToPush(region="cn-shanghai", task_id="t")
TOKEN = "CAIS-the-security-token"


def parse(status: int, body: object, headers: dict[str, str] | None = None, operation: Operation = STOP) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Aliyun().parse(operation, Response(status, headers or {}, content))


def error(code: str, message: str = "Said.") -> dict[str, str]:
    return {"Code": code, "Message": message, "RequestId": "R-1", "HostId": "live.aliyuncs.com"}


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        (StopMPUTask(app_id="a", task_id="t"), {"RequestId": "R-1"}),
        (STOP, {"RequestId": "R-1", "TaskId": "t"}),
        (StopEdgeTranscodeJob(cluster_id="c", job_id="j"), {"RequestId": "R-1", "JobId": "j"}),
        (GetMPUTaskStatus(app_id="a", task_id="t"), {"RequestId": "R-1", "Status": 0}),
        (STATUS, {"RequestId": "R-1", "RetCode": 0, "Description": "success", "TaskStatus": 1}),
        (STATUS, {"RequestId": "R-1", "RetCode": "0", "TaskStatus": 1}),
    ],
)
def test_a_documented_reply_is_a_success_with_its_fields(operation: Operation, reply: dict[str, Any]) -> None:
    assert parse(200, reply, operation=operation) == Answer(None, request_id="R-1", reply=reply)


@pytest.mark.parametrize("content_type", ["text/html", "application/xml", ""])
def test_json_is_read_whatever_the_content_type_says(content_type: str) -> None:
    answer = parse(200, {"RequestId": "R-1"}, {"content-type": content_type})
    assert answer.meaning is None


TABLE = [
    (400, "Throttling", Meaning.THROTTLED),
    (400, "Throttling.User", Meaning.THROTTLED),
    (400, "Throttling.Api", Meaning.THROTTLED),
    (400, "Rejected.Throttling", Meaning.THROTTLED),
    (503, "Throttling", Meaning.THROTTLED),
    (500, "InternalError", Meaning.TRANSIENT),
    (503, "ServiceUnavailable", Meaning.TRANSIENT),
    (400, "SignatureNonceUsed", Meaning.SIGN_AGAIN),
    (400, "InvalidTimeStamp.Expired", Meaning.SIGN_AGAIN),
    (400, "CodeTaskHasStopped", Meaning.ALREADY_STOPPED),
    (500, "CodeTaskHasStopped", Meaning.ALREADY_STOPPED),
    (200, "CodeTaskHasStopped", Meaning.ALREADY_STOPPED),
    (400, "CodeTaskNotExist", Meaning.NOT_FOUND),
    (404, "JobNotFound", Meaning.NOT_FOUND),
    (404, "InvalidTask.NotFound", Meaning.NOT_FOUND),
    (404, "InvalidAccessKeyId.NotFound", Meaning.KEY_REFUSED),
    (400, "InvalidAccessKeyId.Inactive", Meaning.KEY_REFUSED),
    (400, "SignatureDoesNotMatch", Meaning.KEY_REFUSED),
    (403, "Forbidden", Meaning.REFUSED),
    (403, "Forbidden.RAM", Meaning.REFUSED),
    (403, "OperationDenied", Meaning.REFUSED),
    (400, "LiveServiceNotFound", Meaning.REFUSED),
    (400, "CodeInvalidAliUid", Meaning.REFUSED),
    (400, "MissingParameter", Meaning.REFUSED),
    (400, "MissingTaskId", Meaning.REFUSED),
    (400, "InvalidParameter", Meaning.REFUSED),
    (400, "InvalidParam.CodeIllegalDuration", Meaning.REFUSED),
    (404, "InvalidApi.NotFound", Meaning.REFUSED),
]


@pytest.mark.parametrize(("status", "code", "meaning"), TABLE)
def test_the_code_decides_whatever_the_status(status: int, code: str, meaning: Meaning) -> None:
    assert parse(status, error(code)) == Answer(meaning, code, "Said.", "R-1")


def test_an_unknown_code_is_transient_and_not_known() -> None:
    assert parse(400, error("Surprise")) == Answer(Meaning.TRANSIENT, "Surprise", "Said.", "R-1", known=False)


@pytest.mark.parametrize(
    ("status", "body", "meaning", "code", "known"),
    [
        (
            200,
            b"<StopMPUTaskResponse><RequestId>R</RequestId></StopMPUTaskResponse>",
            Meaning.TRANSIENT,
            "BadReply",
            True,
        ),
        (200, b"", Meaning.TRANSIENT, "BadReply", True),
        (200, b"[]", Meaning.TRANSIENT, "BadReply", True),
        (200, b'"text"', Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"Status": NaN}', Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"Status": 1e999}', Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"Status": "\\ud800"}', Meaning.TRANSIENT, "BadReply", True),
        (200, b"[" * 100_000, Meaning.TRANSIENT, "BadReply", True),
        (200, b"\xff\xfe\xfa", Meaning.TRANSIENT, "BadReply", True),
        (204, b"", Meaning.TRANSIENT, "BadReply", True),
        (302, b"", Meaning.TRANSIENT, "HTTP 302", False),
        (307, b'{"RequestId": "R"}', Meaning.TRANSIENT, "HTTP 307", False),
        (400, b"<Error><Code>Throttling</Code></Error>", Meaning.TRANSIENT, "HTTP 400", False),
        (404, b'{"Message": "no"}', Meaning.TRANSIENT, "HTTP 404", False),
        (403, b'{"Code": 17}', Meaning.TRANSIENT, "HTTP 403", False),
        (403, b'{"Code": ""}', Meaning.TRANSIENT, "HTTP 403", False),
        (429, b"slow down", Meaning.THROTTLED, "HTTP 429", True),
        (429, b'{"Code": "Surprise", "Message": "m"}', Meaning.THROTTLED, "Surprise", True),
        (500, b"<html>", Meaning.TRANSIENT, "HTTP 500", True),
        (502, b"<html>", Meaning.TRANSIENT, "HTTP 502", True),
        (503, b'{"Code": "Surprise", "Message": "m"}', Meaning.TRANSIENT, "Surprise", True),
    ],
)
def test_without_a_code_that_we_know_the_status_decides(
    status: int, body: bytes, meaning: Meaning, code: str, known: bool
) -> None:
    answer = parse(status, body)
    assert (answer.meaning, answer.code, answer.known) == (meaning, code, known)
    assert answer.reply == {}


@pytest.mark.parametrize(
    ("reply", "code", "meaning", "known"),
    [
        ({"RetCode": 5, "Description": "server busy"}, "RetCode.5", Meaning.TRANSIENT, False),
        ({"RetCode": -1}, "RetCode.-1", Meaning.TRANSIENT, False),
        ({"RetCode": "7", "Description": ""}, "RetCode.7", Meaning.TRANSIENT, False),
        ({"RetCode": 3, "Description": "CodeTaskNotExist"}, "CodeTaskNotExist", Meaning.NOT_FOUND, True),
        ({"RetCode": 3, "Description": "InternalError"}, "InternalError", Meaning.TRANSIENT, True),
    ],
)
def test_a_ret_code_in_a_reply_with_status_200_is_an_error(
    reply: dict[str, Any], code: str, meaning: Meaning, known: bool
) -> None:
    answer = parse(200, {"RequestId": "R-1", **reply}, operation=STATUS)
    assert (answer.meaning, answer.code, answer.known, answer.request_id) == (meaning, code, known, "R-1")
    assert answer.message == (reply.get("Description") or None)


@pytest.mark.parametrize(
    ("headers", "milliseconds"),
    [
        ({"x-acs-retry-after": "1500"}, 1500),
        ({"x-acs-retry-after": " 20 "}, 20),
        ({"x-ratelimit-user-api": "Limit:1,Remain:0,TimeLeft:2000,Reset:1735787045"}, 2000),
        ({"x-ratelimit-user-api": "limit: 1, timeleft: 2000"}, 2000),
        ({"x-acs-retry-after": "7", "x-ratelimit-user-api": "TimeLeft:2000"}, 7),
        ({"x-acs-retry-after": "soon", "x-ratelimit-user-api": "TimeLeft:2000"}, 2000),
        ({"x-acs-retry-after": "999999999999"}, 300_000),
        ({"x-acs-retry-after": "9" * 5000}, None),
        ({"x-acs-retry-after": "0"}, None),
        ({"x-acs-retry-after": "-5"}, None),
        ({"x-acs-retry-after": "1e3"}, None),
        ({"x-acs-retry-after": "٣"}, None),
        ({"x-acs-retry-after": ""}, None),
        ({"x-ratelimit-user-api": "Limit:1,Remain:0,TimeLeft:-1,Reset:5"}, None),
        ({"x-ratelimit-user-api": "TimeLeft"}, None),
        ({}, None),
    ],
)
def test_a_throttled_answer_carries_the_gateways_hint_within_bounds(
    headers: dict[str, str], milliseconds: int | None
) -> None:
    hint = None if milliseconds is None else timedelta(milliseconds=milliseconds)
    assert parse(400, error("Throttling.User"), headers).retry_after == hint


def test_a_hint_counts_only_where_the_job_comes_back() -> None:
    headers = {"x-acs-retry-after": "1500", "x-ratelimit-user-api": "Limit:10,Remain:9,TimeLeft:2000"}
    assert parse(503, error("ServiceUnavailable"), headers).retry_after == timedelta(milliseconds=1500)
    assert parse(400, error("CodeTaskNotExist"), headers).retry_after is None
    assert parse(200, {"RequestId": "R-1"}, headers).retry_after is None


def test_time_left_of_a_quota_that_is_not_used_up_is_no_hint() -> None:
    answer = parse(500, error("InternalError"), {"x-ratelimit-user-api": "Limit:10,Remain:9,TimeLeft:2000"})
    assert answer.retry_after is None


@pytest.mark.parametrize(
    "message",
    [
        "Specified signature is not matched with our calculation. server string to sign is:POST&%2F&AccessKeyId%3D"
        f"LTAI5x%26SecurityToken%3D{TOKEN}",
        "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\nab], server "
        f"CanonicalRequest is [POST\n/\n\nx-acs-security-token:{TOKEN}\n Credential=LTAI5x]",
        f"The request signature does not conform. The canonical request was [x-acs-security-token:{TOKEN}] LTAI5x",
        f"Sent x-acs-security-token: {TOKEN} LTAI5x",
        f"GET /?AccessKeyId=LTAI5x&SecurityToken={TOKEN}",
        f"Bad Authorization: ACS3-HMAC-SHA256 Credential=LTAI5x {TOKEN}",
    ],
)
def test_a_message_stops_where_it_begins_to_echo_what_was_signed(message: str) -> None:
    answer = parse(400, error("SignatureDoesNotMatch", message))
    assert answer.meaning is Meaning.KEY_REFUSED
    assert TOKEN not in repr(answer)
    assert "LTAI5x" not in repr(answer)
    assert answer.message


def test_the_sentence_in_front_of_an_echo_is_kept() -> None:
    message = (
        "Specified signature is not matched with our calculation. server string to sign is:GET&%2F&AccessKeyId%3Dx"
    )
    answer = parse(400, error("SignatureDoesNotMatch", message))
    assert answer.message == "Specified signature is not matched with our calculation."


@pytest.mark.parametrize(
    "message",
    ["Specified access key is not found.", "The signature nonce was used.", "The parameter AccessKeyId is mandatory."],
)
def test_a_message_that_only_speaks_of_credentials_is_kept(message: str) -> None:
    assert parse(400, error("Forbidden", message)).message == message


def test_a_message_is_one_bounded_line() -> None:
    answer = parse(400, error("Forbidden", "a\r\n\x1b[31mb\x00 " + "x" * 1_000_000))
    assert answer.message is not None
    assert answer.message.startswith("a [31mb xxx")
    assert len(answer.message) == 500


def test_the_request_id_may_come_in_a_header() -> None:
    assert parse(503, b"<html>", {"x-acs-request-id": "R-2"}).request_id == "R-2"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Code", "Message", "RequestId", "RetCode", "Description"]) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(st.integers(100, 599), st.binary(max_size=300), st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
@example(200, b'{"Code": {}, "Message": [], "RetCode": {}, "RequestId": 5}', {"x-acs-retry-after": "\ud800"})
def test_no_bytes_make_the_parser_raise(status: int, body: bytes, headers: dict[str, str]) -> None:
    answer = parse(status, body, headers)
    assert answer.meaning is None or answer.code


@given(st.integers(100, 599), JSON)
def test_no_json_makes_the_parser_raise_and_every_answer_can_be_recorded(status: int, body: object) -> None:
    answer = parse(status, body)
    assert answer.meaning is None or answer.code
    fields = [answer.code, answer.message, answer.request_id, answer.reply]
    json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


@given(st.integers(300, 599), JSON)
def test_no_status_but_2xx_is_ever_a_success(status: int, body: object) -> None:
    assert parse(status, body).meaning is not None
