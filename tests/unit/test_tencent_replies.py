"""The meaning of Tencent's replies: every row of the vendor's tables, and arbitrary bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop.operations import DescribeStreamIngest, Meaning, Operation, StopStreamIngest
from streamstop_worker.vendors.protocol import Answer, Response
from streamstop_worker.vendors.tencent import Tencent

STOP = StopStreamIngest(sdk_app_id=1, task_id="t")


def parse(status: int, body: object, operation: Operation = STOP) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Tencent().parse(operation, Response(status, {"content-type": "application/json; charset=utf-8"}, content))


def error(code: object, message: object = "Said.") -> dict[str, Any]:
    return {"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "R-1"}}


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        (STOP, {"RequestId": "R-1"}),
        (DescribeStreamIngest(sdk_app_id=1, task_id="t"), {"RequestId": "R-1", "Status": "InProgress"}),
    ],
)
def test_a_documented_reply_is_a_success_with_its_fields(operation: Operation, reply: dict[str, Any]) -> None:
    assert parse(200, {"Response": reply}, operation) == Answer(None, request_id="R-1", reply=reply)


TABLE = [
    ("RequestLimitExceeded", Meaning.THROTTLED),
    ("RequestLimitExceeded.UinLimitExceeded", Meaning.THROTTLED),
    ("OperationDenied.FreqOverLimit", Meaning.THROTTLED),
    ("FailedOperation.RestrictedFrequency", Meaning.THROTTLED),
    ("InternalError", Meaning.TRANSIENT),
    ("InternalError.DBError", Meaning.TRANSIENT),
    ("ServiceUnavailable", Meaning.TRANSIENT),
    ("ResourceUnavailable", Meaning.TRANSIENT),
    ("ResourceInsufficient", Meaning.TRANSIENT),
    ("AuthFailure.SignatureExpire", Meaning.SIGN_AGAIN),
    ("FailedOperation.TaskFinished", Meaning.ALREADY_STOPPED),
    ("FailedOperation.TaskNotExist", Meaning.NOT_FOUND),
    ("FailedOperation.RoomNotExist", Meaning.NOT_FOUND),
    ("ResourceNotFound", Meaning.NOT_FOUND),
    ("ResourceNotFound.Task", Meaning.NOT_FOUND),
    ("AuthFailure.SecretIdNotFound", Meaning.KEY_REFUSED),
    ("AuthFailure.SignatureFailure", Meaning.KEY_REFUSED),
    ("AuthFailure.TokenFailure", Meaning.KEY_REFUSED),
    ("AuthFailure.UnauthorizedOperation", Meaning.REFUSED),
    ("UnauthorizedOperation", Meaning.REFUSED),
    ("UnauthorizedOperation.CamNoAuth", Meaning.REFUSED),
    ("InvalidParameter.BodyParamsError", Meaning.REFUSED),
    ("InvalidParameter.SdkAppId", Meaning.REFUSED),
    ("InvalidParameter.TaskId", Meaning.REFUSED),
    ("InvalidParameterValue", Meaning.REFUSED),
    ("MissingParameter", Meaning.REFUSED),
    ("MissingParameter.SdkAppId", Meaning.REFUSED),
    ("UnsupportedRegion", Meaning.REFUSED),
    ("InvalidAction", Meaning.REFUSED),
    ("LimitExceeded", Meaning.REFUSED),
    ("LimitExceeded.Tasks", Meaning.REFUSED),
]


@pytest.mark.parametrize(("code", "meaning"), TABLE)
def test_an_error_in_a_reply_with_status_200_means_what_its_code_means(code: str, meaning: Meaning) -> None:
    assert parse(200, error(code)) == Answer(meaning, code, "Said.", "R-1")


@pytest.mark.parametrize("code", ["Surprise", "FailedOperation", "FailedOperation.New"])
def test_an_unknown_code_is_transient_and_not_known(code: str) -> None:
    assert parse(200, error(code)) == Answer(Meaning.TRANSIENT, code, "Said.", "R-1", known=False)


@pytest.mark.parametrize(
    ("status", "body", "meaning", "code", "known"),
    [
        (200, b"", Meaning.TRANSIENT, "BadReply", True),
        (200, b"<html>", Meaning.TRANSIENT, "BadReply", True),
        (200, b"{}", Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"RequestId": "R-1"}', Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"Response": []}', Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"Response": null}', Meaning.TRANSIENT, "BadReply", True),
        (200, b'{"Response": {"Error": "text"}}', Meaning.TRANSIENT, "BadReply", False),
        (200, b'{"Response": {"Error": {}}}', Meaning.TRANSIENT, "BadReply", False),
        (200, b'{"Response": {"Error": {"Code": 5}}}', Meaning.TRANSIENT, "BadReply", False),
        (200, b"[" * 100_000, Meaning.TRANSIENT, "BadReply", True),
        (204, b'{"Response": {"RequestId": "R-1"}}', Meaning.TRANSIENT, "HTTP 204", False),
        (301, b"", Meaning.TRANSIENT, "HTTP 301", False),
        (404, b"<html>", Meaning.TRANSIENT, "HTTP 404", False),
        (429, b"<html>", Meaning.THROTTLED, "HTTP 429", True),
        (500, b'{"Response": {"RequestId": "R-1"}}', Meaning.TRANSIENT, "HTTP 500", True),
        (503, b"<html>", Meaning.TRANSIENT, "HTTP 503", True),
    ],
)
def test_a_body_that_is_not_a_reply_is_a_transient_fault(
    status: int, body: bytes, meaning: Meaning, code: str, known: bool
) -> None:
    answer = parse(status, body)
    assert (answer.meaning, answer.code, answer.known) == (meaning, code, known)
    assert answer.reply == {}


def test_another_status_than_200_is_transient_and_still_tells_what_the_body_says() -> None:
    answer = parse(502, error("InvalidParameter", "Bad."))
    assert answer == Answer(Meaning.TRANSIENT, "HTTP 502", "InvalidParameter: Bad.", "R-1")


def test_an_error_that_is_null_is_none() -> None:
    assert parse(200, {"Response": {"RequestId": "R-1", "Error": None}}).meaning is None


def test_a_message_stops_where_it_begins_to_echo_what_was_sent() -> None:
    answer = parse(200, error("AuthFailure.SignatureFailure", "Not valid. X-TC-Token: secret-token SecretId=AKIDx"))
    assert answer.message == "Not valid."


def test_a_message_is_one_bounded_line() -> None:
    answer = parse(200, error("InternalError", "a\nb " + "x" * 1_000_000))
    assert answer.message == ("a b " + "x" * 1000)[:500]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Response", "Error", "Code", "Message", "RequestId"]) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(st.integers(100, 599), st.binary(max_size=300))
def test_no_bytes_make_the_parser_raise(status: int, body: bytes) -> None:
    answer = parse(status, body)
    assert answer.meaning is None or answer.code


@given(st.integers(100, 599), JSON | st.fixed_dictionaries({"Response": JSON}))
def test_no_json_makes_the_parser_raise_and_every_answer_can_be_recorded(status: int, body: object) -> None:
    answer = parse(status, body)
    assert answer.meaning is None or answer.code
    fields = [answer.code, answer.message, answer.request_id, answer.reply]
    json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


@given(st.integers(100, 599).filter(lambda status: status != 200), JSON | st.fixed_dictionaries({"Response": JSON}))
def test_no_status_but_200_is_ever_a_success(status: int, body: object) -> None:
    assert parse(status, body).meaning is not None
