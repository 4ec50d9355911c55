"""Credentials that a vendor repeats are removed from codes, messages, ids, fields and their names."""

import asyncio
import json
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop.operations import Operation, StopMPUTask, StopStreamIngest
from streamstop_worker import aiohttp_adapter
from streamstop_worker.accounts import Account
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Answer, Request, Response
from tests.support.loopback import Connection, LoopbackServer
from tests.support.transport_calls import LONG

KEY_ID, SECRET, TOKEN = "LTAI5tPlanted", "hush+Hush/1234==", "CAIS+tok/en%2B=="
V3 = Account("a", "aliyun", KEY_ID, SECRET, TOKEN)
V1 = Account("a", "aliyun", KEY_ID, SECRET, TOKEN, signature="v1")
TC3 = Account("a", "tencent", KEY_ID, SECRET, TOKEN, region="ap-singapore")
NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def operation_for(account: Account) -> Operation:
    if account.vendor == "tencent":
        return StopStreamIngest(sdk_app_id=1, task_id="t")
    return StopMPUTask(app_id="a", task_id="t")


def build(account: Account) -> Request:
    return PROTOCOLS[account.vendor].build(operation_for(account), account, now=NOW, nonce="n")


def parse(account: Account, fields: Any, headers: dict[str, str] | None = None, status: int = 400) -> Answer:
    """Return what the vendor's fields, in its envelope, are read as."""
    wrapped = {"Response": fields} if account.vendor == "tencent" else fields
    status = 200 if account.vendor == "tencent" and status == 400 else status
    response = Response(status, headers or {}, json.dumps(wrapped).encode(), secrets=build(account).secrets)
    return PROTOCOLS[account.vendor].parse(operation_for(account), response)


def error(account: Account, code: str, message: str) -> dict[str, Any]:
    fields = {"Code": code, "Message": message}
    return {"Error": fields} if account.vendor == "tencent" else fields


def lower(text: str) -> str:
    return quote(text, safe="").replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")


WRITTEN: list[Callable[[str], str]] = [
    str,
    quote,
    lambda text: quote(quote(text, safe=""), safe=""),
    lower,
    lambda text: f"a{text}b",
]
accounts = pytest.mark.parametrize("account", [V3, V1, TC3], ids=["v3", "v1", "tc3"])


def assert_told(answer: Answer) -> None:
    shown = repr(answer)
    for secret in (KEY_ID, SECRET, TOKEN):
        for write in WRITTEN[:-1]:
            assert write(secret) not in shown


@accounts
@pytest.mark.parametrize("write", WRITTEN, ids=["plain", "encoded", "encoded twice", "lower case", "in a word"])
@pytest.mark.parametrize("secret", [KEY_ID, SECRET, TOKEN])
def test_an_error_that_repeats_a_credential_is_told_without_it(account: Account, secret: str, write: Any) -> None:
    written = write(secret)
    answer = parse(
        account, error(account, f"Forbidden.{written}", f"You sent {written}, dear caller") | {"RequestId": written}
    )
    assert_told(answer)
    assert answer.message is not None
    assert answer.message.startswith("You sent ")
    assert answer.message.endswith("dear caller")


@accounts
def test_credentials_are_removed_from_replies(account: Account) -> None:
    answer = parse(account, {"List": [{SECRET: quote(TOKEN)}, KEY_ID], "RequestId": KEY_ID, "Kept": "yes"}, status=200)
    assert answer.meaning is None
    assert answer.reply == {"List": [{"***": "***"}, "***"], "RequestId": "***", "Kept": "yes"}
    assert answer.request_id == "***"


def test_credentials_are_removed_from_headers() -> None:
    assert parse(V3, {}, {"x-acs-request-id": KEY_ID}).request_id == "***"


def test_a_credential_that_is_too_short_is_not_removed_from_words() -> None:
    account = Account("a", "aliyun", "id", "key")
    assert parse(account, error(account, "Forbidden", "an idle key")).message == "an idle key"


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*<>"), min_size=6),
    st.integers(0, 3),
)
def test_no_credential_appears_in_a_reply(secret: str, encoded: int) -> None:
    written = secret
    for _ in range(encoded):
        written = quote(written, safe="")
    account = Account("a", "aliyun", "LTAI-another", secret)
    assert parse(account, {"Field": f"<{written}>"}, status=200).reply["Field"] == "<***>"


def test_no_repr_of_an_account_a_request_or_a_response_shows_a_secret() -> None:
    for account in (V3, V1, TC3):
        request = build(account)
        response = Response(200, {"x": SECRET}, TOKEN.encode(), secrets=request.secrets)
        shown = repr((account, request, response))
        assert not [secret for secret in (KEY_ID, SECRET, TOKEN, "Signature=") if secret in shown]


ECHOES = {
    "the request": b"",
    "a status line": b"HTTP/1.1 200",
    "a header": b"HTTP/1.1 200 OK\r\n",
    "a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "a chunk's end": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na",
    "a transfer encoding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: ",
    "a length": b"HTTP/1.1 200 OK\r\ncontent-length: ",
    "a continuation": b"HTTP/1.1 200 OK\r\n ",
}


@accounts
@pytest.mark.parametrize("before", ECHOES.values(), ids=ECHOES)
def test_a_server_that_sends_the_request_back_as_something_else_is_told_without_it(
    account: Account, before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiohttp_adapter, "CONNECT_TIMEOUT", LONG)

    def echo(connection: Connection) -> None:
        connection.send(before + connection.request())

    with LoopbackServer(echo) as server:
        account = Account(**{**vars(account), "endpoint": server.origin})
        request = build(account)

        async def call() -> None:
            transport = Transport(LONG, 1)
            try:
                await transport.send(request)
            finally:
                await transport.close()

        with pytest.raises(TransportFault) as raised:
            asyncio.run(call())
    assert raised.value.answer.code == "RemoteProtocolError"
    assert_told(raised.value.answer)
    assert "ignature" not in repr(raised.value.answer)
    assert "HMAC" not in repr(raised.value.answer)
    # As a reporter of errors that shows the variables of all frames would send it.
    report = traceback.TracebackException.from_exception(raised.value, capture_locals=True, compact=True)
    shown = "".join(report.format())
    assert "request = Request(" in shown
    assert not [secret for secret in (KEY_ID, SECRET, TOKEN, "HMAC") if secret in shown]
