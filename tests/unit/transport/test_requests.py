"""The transport sends exactly the request that was signed, and returns the response unchanged."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

import httpx
import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.trace import SpanKind

from streamstop.operations import StopMPUTask, StopStreamIngest
from streamstop_worker.accounts import Account
from streamstop_worker.transport import TransportFault
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Request, Response
from tests.support.loopback import Connection, LoopbackServer
from tests.support.tracing import Spans
from tests.support.transport_calls import (
    BODY,
    LONG,
    TransportClient,
    answer_forever,
    fault_of,
    get,
    post,
    send_once,
    transport_answering,
)

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("account", "operation"),
    [
        (Account("a", "aliyun", "id", "secret", "token+/="), StopMPUTask(app_id="a", task_id="t 1*~+/='漢")),
        (Account("a", "aliyun", "id", "secret", signature="v1"), StopMPUTask(app_id="a", task_id="t 1*~+/='漢")),
        (Account("a", "tencent", "id", "secret", region="ap-x"), StopStreamIngest(sdk_app_id=1, task_id="+/=.")),
    ],
)
def test_exactly_what_was_signed_is_sent(
    transport: TransportClient, account: Account, operation: StopMPUTask | StopStreamIngest
) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        received.append(connection.request())
        connection.answer(BODY)

    with LoopbackServer(converse) as server:
        account = Account(**{**vars(account), "endpoint": server.origin})
        request = PROTOCOLS[account.vendor].build(operation, account, now=NOW, nonce="n-1")
        assert transport.send(request).body == BODY
    head, _, body = received[0].partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert line == f"{request.method} {request.url.removeprefix(server.origin)} HTTP/1.1"
    assert body == request.body
    added = {name.lower() for name in headers} - {name.lower() for name in request.headers}
    assert added == {"accept-encoding", "user-agent", "content-length"}
    assert {name: headers[name] for name in request.headers} == request.headers
    assert headers["user-agent"].startswith("streamstop/")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "target", ["/?a=%2f%2F&b=%e6%BC&c=a+b%20c&d=~*%7E%2A&&e=&f", "/a%2fb//c/?q=a;b,c:d@e!$'()/?", "/", "/%41?%41=%42"]
)
def test_no_byte_of_an_address_or_a_header_is_changed(transport: TransportClient, method: str, target: str) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        received.append(connection.request())
        connection.answer(BODY)

    with LoopbackServer(converse) as server:
        host = server.origin.removeprefix("http://")
        headers = {"Host": host, "X-Acs-Date": 'a,  b ; c="d"', "x-lower": "", "user-agent": "v", "Accept": "x/y"}
        transport.send(Request(method, server.origin + target, headers))
    expected = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    expected += ["accept-encoding: identity", *(["Content-Length: 0"] if method == "POST" else [])]
    assert sorted(received[0].decode().split("\r\n")) == sorted([*expected, "", ""])


def test_status_headers_and_body_come_back() -> None:
    headers = [("X-Acs-Request-Id", "R"), ("Via", "a"), ("via", "b")]
    answer = httpx.Response(503, headers=headers, content=b"<html>")
    response = send_once(transport_answering(answer), get("https://live.aliyuncs.com"))
    assert response == Response(503, {"x-acs-request-id": "R", "via": "a, b", "content-length": "6"}, b"<html>")


def test_a_redirect_is_not_followed(transport: TransportClient) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(b"", b"Location: /elsewhere", status=b"302 Found")

    with LoopbackServer(converse) as server:
        response = transport.send(get(server.origin))
    assert (response.status, response.headers["location"]) == (302, "/elsewhere")


def test_the_environment_names_no_proxy(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    transport = TransportClient(runner, LONG)
    with LoopbackServer(answer_forever) as server:
        assert transport.send(get(server.origin)).body == BODY
        transport.close()


def test_the_moment_of_sending_is_when_the_request_was_written_not_when_it_was_answered(
    transport: TransportClient,
) -> None:
    written: list[float] = []

    def converse(connection: Connection) -> None:
        while connection.request():
            written.append(monotonic())
            connection.answer(BODY)

    with LoopbackServer(converse) as server:
        for request in (get(server.origin), post(server.origin), post(server.origin, b" " * 50_000)):
            begun = monotonic()
            sent_at = transport.send(request).sent_at
            assert sent_at is not None
            assert begun < sent_at < written[-1]


@pytest.mark.parametrize("make", [get, post])
def test_a_request_that_cannot_be_http_is_a_fault_and_not_sent(
    transport: TransportClient, make: Callable[[str], Request]
) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        received.append(connection.request())

    wrong = [("x-token", "hush-hush\r\nx: y"), ("x-token", "hush-hush\0"), ("x-token", "é hush-hush")]
    wrong += [("x hush-hush", "a"), ("", "hush-hush")]
    with LoopbackServer(converse) as server:
        for name, value in wrong:
            request = make(server.origin)
            fault = fault_of(transport, Request(request.method, request.url, {**request.headers, name: value}))
            assert (fault.answer.code, fault.sent_at) == ("LocalProtocolError", None)
        assert server.connections == 0
    assert not received


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.1/", "InvalidURL"),
        ("http://127.0.0.1:99999/", "InvalidURL"),
        ("http://[::1/", "InvalidURL"),
        ("http:///hush-hush", None),
        ("ftp://127.0.0.1/", "UnsupportedProtocol"),
        ("wss://127.0.0.1/", "UnsupportedProtocol"),
    ],
)
def test_an_invalid_address_is_a_fault_and_not_sent(transport: TransportClient, url: str, code: str | None) -> None:
    with pytest.raises(TransportFault) as raised:
        transport.send(Request("GET", url, {"host": "h"}))
    assert code in {None, raised.value.answer.code}
    assert raised.value.sent_at is None
    assert "hush-hush" not in str(raised.value)


def test_an_instrumentation_of_aiohttp_neither_sees_nor_changes_a_signed_request() -> None:
    spans, received = Spans(), list[bytes]()

    def converse(connection: Connection) -> None:
        received.append(connection.request())
        connection.answer(BODY)

    AioHttpClientInstrumentor().instrument(tracer_provider=spans.provider)
    try:
        with asyncio.Runner() as runner, LoopbackServer(converse) as server:
            transport = TransportClient(runner, LONG)
            assert transport.send(get(server.origin)).body == BODY
            transport.close()
    finally:
        AioHttpClientInstrumentor().uninstrument()
    assert spans.ended(SpanKind.CLIENT) == []
    assert len(received) == 1
    assert b"traceparent" not in received[0]
