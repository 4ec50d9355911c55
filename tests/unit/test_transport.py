"""The transport sends what was signed, as it is, and is back in time whatever the server does."""

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import TypeVar

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamstop.operations import Meaning, StopMPUTask, StopStreamIngest
from streamstop_worker import aiohttp_adapter
from streamstop_worker.accounts import Account
from streamstop_worker.transport import LONGEST_BODY, Transport, TransportFault
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Request, Response
from tests.support.loopback import Connection, LoopbackServer

#: For calls that are to run out of time.
SHORT = timedelta(milliseconds=300)
#: For calls that are to succeed: far beyond what they take.
LONG = timedelta(seconds=20)
BODY = b'{"RequestId": "R-1"}'
QUERY = "/?AccessKeyId=LTAI-id&Signature=hush-hush"
Conversation = Callable[[Connection], None]
T = TypeVar("T")
NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


class Client:
    """A transport in a loop of its own, for tests that make one call after another."""

    def __init__(self, runner: asyncio.Runner, timeout: timedelta, concurrency: int = 4) -> None:
        self._runner = runner
        self._transport = runner.run(self._make(timeout, concurrency))

    async def _make(self, timeout: timedelta, concurrency: int) -> Transport:
        return Transport(timeout, concurrency)

    def send(self, request: Request) -> Response:
        return self._runner.run(self._transport.send(request))

    def run(self, calls: Callable[[Transport], Awaitable[T]]) -> T:
        async def run() -> T:
            return await calls(self._transport)

        return self._runner.run(run())

    def close(self) -> None:
        self._runner.run(self._transport.close())


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@pytest.fixture
def transport(runner: asyncio.Runner) -> Iterator[Client]:
    client = Client(runner, LONG)
    yield client
    client.close()


@pytest.fixture
def hurried(runner: asyncio.Runner) -> Iterator[Client]:
    client = Client(runner, SHORT)
    yield client
    client.close()


def get(origin: str) -> Request:
    return Request("GET", f"{origin}{QUERY}", {"host": origin.partition("://")[2]})


def post(origin: str, body: bytes = b"{}") -> Request:
    return Request("POST", f"{origin}{QUERY}", {"host": origin.partition("://")[2]}, body)


def assert_told(fault: TransportFault, request: Request) -> None:
    assert fault.answer.meaning is Meaning.TRANSIENT
    assert fault.answer.known
    for said in (str(fault), repr(fault.answer)):
        assert "hush-hush" not in said
        assert "LTAI-id" not in said
    assert request.headers["host"] in (fault.answer.message or "")
    # Whoever reports errors with all that led to them finds no request there.
    assert fault.__cause__ is None
    assert fault.__context__ is None


def fault_of(client: Client, request: Request) -> TransportFault:
    began = monotonic()
    with pytest.raises(TransportFault) as raised:
        client.send(request)
    assert monotonic() - began < 5
    assert_told(raised.value, request)
    return raised.value


def error_code(client: Client, request: Request) -> str | None:
    return fault_of(client, request).answer.code


def answering(conversation: httpx.Response | httpx.TransportError) -> Transport:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(conversation, httpx.Response):
            return conversation
        raise conversation

    return Transport(LONG, 1, transport=httpx.MockTransport(handle))


def sent(transport: Transport, request: Request) -> Response:
    return asyncio.run(transport.send(request))


def fault_sent(transport: Transport, request: Request) -> TransportFault:
    with pytest.raises(TransportFault) as raised:
        sent(transport, request)
    assert_told(raised.value, request)
    return raised.value


def answer_forever(connection: Connection) -> None:
    while connection.request():
        connection.answer(BODY)


@pytest.mark.parametrize(
    ("account", "operation"),
    [
        (Account("a", "aliyun", "id", "secret", "token+/="), StopMPUTask(app_id="a", task_id="t 1*~+/='漢")),
        (Account("a", "aliyun", "id", "secret", signature="v1"), StopMPUTask(app_id="a", task_id="t 1*~+/='漢")),
        (Account("a", "tencent", "id", "secret", region="ap-x"), StopStreamIngest(sdk_app_id=1, task_id="+/=.")),
    ],
)
def test_exactly_what_was_signed_is_sent(
    transport: Client, account: Account, operation: StopMPUTask | StopStreamIngest
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
def test_no_byte_of_an_address_or_a_header_is_changed(transport: Client, method: str, target: str) -> None:
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
    response = sent(answering(answer), get("https://live.aliyuncs.com"))
    assert response == Response(503, {"x-acs-request-id": "R", "via": "a, b", "content-length": "6"}, b"<html>")


def test_a_redirect_is_not_followed(transport: Client) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(b"", b"Location: /elsewhere", status=b"302 Found")

    with LoopbackServer(converse) as server:
        response = transport.send(get(server.origin))
    assert (response.status, response.headers["location"]) == (302, "/elsewhere")


def test_one_connection_serves_many_calls_and_no_cookie_is_kept(transport: Client) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        while request := connection.request():
            received.append(request)
            connection.answer(BODY, b"Set-Cookie: who=you")

    with LoopbackServer(converse) as server:
        for _ in range(3):
            transport.send(get(server.origin))
        assert server.connections == 1
    assert len(received) == 3
    assert b"cookie" not in b"".join(received).lower()


def test_a_connection_that_the_server_gave_up_is_a_fault_and_the_next_call_opens_another(transport: Client) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        connection.request()  # and closes instead of answering

    with LoopbackServer(converse) as server:
        transport.send(get(server.origin))
        assert error_code(transport, get(server.origin)) == "RemoteProtocolError"
        assert transport.send(get(server.origin)).body == BODY


def test_the_environment_names_no_proxy(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    transport = Client(runner, LONG)
    with LoopbackServer(answer_forever) as server:
        assert transport.send(get(server.origin)).body == BODY
        transport.close()


def test_a_port_where_nobody_listens_is_a_connect_error(transport: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert error_code(transport, get(f"http://127.0.0.1:{port}")) == "ConnectError"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[timedelta, Callable[..., list[object]]], Client]]:
    """Return how to make a client for which names resolve as a test says, in the standard library's loop."""
    with ExitStack() as stack:

        def make(timeout: timedelta, resolve: Callable[..., list[object]]) -> Client:
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            client = Client(stack.enter_context(asyncio.Runner()), timeout)
            stack.callback(client.close)
            return client

        yield make


Names = Callable[[timedelta, Callable[..., list[object]]], Client]


def test_a_name_that_does_not_resolve_is_a_connect_error(names: Names) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    fault = fault_of(names(LONG, resolve), get("http://nowhere.invalid"))
    assert (fault.answer.code, fault.sent_at) == ("ConnectError", None)
    assert "Name or service not known" in (fault.answer.message or "")


def test_a_resolver_that_hangs_is_a_connect_timeout(names: Names) -> None:
    over = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        over.wait()
        return []

    fault = fault_of(names(SHORT, resolve), get("http://slow.example"))
    over.set()
    assert (fault.answer.code, fault.sent_at) == ("ConnectTimeout", None)


def test_a_dead_address_of_a_host_does_not_keep_from_the_next(names: Names) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: int, **named: int) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [found for one in hosts for found in resolve(one, port, *rest, **named)]

    with LoopbackServer(answer_forever) as server:
        assert names(LONG, two_addresses).send(get(f"http://two.example:{server.port}")).body == BODY


@contextmanager
def full_listener(address: str, port: int = 0) -> Iterator[int]:
    """Yield a port where a connection is never made: Linux drops what comes when the queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_an_address_of_a_host_that_hangs_does_not_keep_from_the_next(names: Names) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: int, **named: int) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [found for one in hosts for found in resolve(one, port, *rest, **named)]

    with LoopbackServer(answer_forever) as server, full_listener("127.0.0.2", server.port):
        assert names(LONG, two_addresses).send(get(f"http://two.example:{server.port}")).body == BODY


def test_a_server_that_accepts_nobody_is_a_connect_timeout(hurried: Client) -> None:
    with full_listener("127.0.0.1") as port:
        fault = fault_of(hurried, get(f"http://127.0.0.1:{port}"))
    assert (fault.answer.code, fault.sent_at) == ("ConnectTimeout", None)


def test_a_connection_has_a_share_of_the_time(transport: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_adapter, "CONNECT_TIMEOUT", SHORT)
    with full_listener("127.0.0.1") as port:
        assert error_code(transport, get(f"http://127.0.0.1:{port}")) == "ConnectTimeout"


def test_a_connection_that_was_made_leaves_the_answer_the_rest_of_the_time(
    transport: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiohttp_adapter, "CONNECT_TIMEOUT", SHORT)

    def converse(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
        connection.drip(b" ", 60)

    with LoopbackServer(converse) as server:
        assert transport.send(get(server.origin)).body == b" " * 60


def hang_at_once(connection: Connection) -> None:
    connection.hang()


def hang_in_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    connection.hang()


def drip_the_head(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    connection.drip(b"a")


def drip_informational_responses(connection: Connection) -> None:
    connection.request()
    connection.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def drip_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    connection.drip(b" ")


def drip_chunks(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.drip(b"1\r\n \r\n")


@pytest.mark.parametrize(
    "converse",
    [hang_at_once, hang_in_the_body, drip_the_head, drip_informational_responses, drip_the_body, drip_chunks],
)
def test_a_server_that_hangs_or_drips_is_a_read_timeout(hurried: Client, converse: Conversation) -> None:
    with LoopbackServer(converse) as server:
        fault = fault_of(hurried, get(server.origin))
    assert fault.answer.code == "ReadTimeout"
    assert fault.answer.message == f"127.0.0.1:{server.port}: no whole response within 0.3 s"


def reset_at_once(connection: Connection) -> None:
    connection.request()
    connection.reset()


def reset_in_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    connection.reset()


def close_in_the_body(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def speak_another_protocol(connection: Connection) -> None:
    connection.request()
    connection.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


def send_an_endless_header(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1_000_000)


def send_too_many_headers(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\n" + b"X-More: a\r\n" * 1000 + b"\r\n")


def send_a_broken_chunk(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\nhush-hush\r\n")


def send_an_unknown_encoding(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: hush-hush\r\n\r\n{}")


def reset_in_a_body_without_a_length(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n{")
    connection.reset()


def close_at_once(connection: Connection) -> None:
    connection.request()


@pytest.mark.parametrize(
    ("converse", "code"),
    [
        (reset_at_once, "ReadError"),
        (reset_in_the_body, "ReadError"),
        (reset_in_a_body_without_a_length, "ReadError"),
        (close_at_once, "RemoteProtocolError"),
        (close_in_the_body, "RemoteProtocolError"),
        (speak_another_protocol, "RemoteProtocolError"),
        (send_an_endless_header, "RemoteProtocolError"),
        (send_too_many_headers, "RemoteProtocolError"),
        (send_a_broken_chunk, "RemoteProtocolError"),
        (send_an_unknown_encoding, "RemoteProtocolError"),
    ],
)
def test_a_connection_that_breaks_is_a_fault(transport: Client, converse: Conversation, code: str) -> None:
    with LoopbackServer(converse) as server:
        for request in (get(server.origin), post(server.origin)):
            fault = fault_of(transport, request)
            assert fault.answer.code == code
            assert fault.sent_at is not None
        assert server.connections == 2


def compressed(body: bytes, encoding: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body))


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_body_that_was_compressed_unasked_is_read(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    assert sent(answering(compressed(encode(BODY), encoding)), get("https://live.aliyuncs.com")).body == BODY


def test_a_body_of_the_longest_length_is_read() -> None:
    response = sent(answering(httpx.Response(200, content=b" " * LONGEST_BODY)), get("https://live.aliyuncs.com"))
    assert len(response.body) == LONGEST_BODY


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b" " * (LONGEST_BODY + 1)),
        compressed(gzip.compress(b"\0" * 100 * LONGEST_BODY), "gzip"),
        compressed(gzip.compress(b"") + b"\0" * (LONGEST_BODY + 1), "gzip"),
    ],
)
def test_a_body_beyond_bounds_is_a_fault(response: httpx.Response) -> None:
    assert fault_sent(answering(response), get("https://live.aliyuncs.com")).answer.code == "BodyTooLarge"


def test_an_endless_body_is_a_fault(transport: Client) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with LoopbackServer(converse) as server:
        assert error_code(transport, get(server.origin)) == "BodyTooLarge"


def test_a_body_that_cannot_be_decompressed_is_a_fault() -> None:
    fault = fault_sent(answering(compressed(BODY, "gzip")), get("https://live.aliyuncs.com"))
    assert fault.answer.code == "BadEncoding"


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectTimeout("m"),
        httpx.ReadTimeout("m"),
        httpx.WriteTimeout("m"),
        httpx.PoolTimeout("m"),
        httpx.ConnectError("m"),
        httpx.ReadError("m"),
        httpx.WriteError("m"),
        httpx.CloseError("m"),
        httpx.RemoteProtocolError("m" * 10_000),
        httpx.ProxyError("m"),
        httpx.UnsupportedProtocol("m"),
        httpx.LocalProtocolError("Illegal header value b'hush-hush'"),
    ],
)
def test_every_fault_of_httpx_is_a_transient_answer_of_its_name(error: httpx.TransportError) -> None:
    fault = fault_sent(answering(error), get("https://live.aliyuncs.com"))
    assert fault.answer.code == type(error).__name__
    assert len(fault.answer.message or "") < 300


def test_a_get_whose_kept_connection_breaks_is_not_sent_again(transport: Client) -> None:
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        received.append(connection.request())
        connection.answer(BODY)
        received.append(connection.request())
        connection.reset()

    with LoopbackServer(converse) as server:
        transport.send(get(server.origin))
        fault = fault_of(transport, get(server.origin))
        assert server.connections == 1
    assert (fault.answer.code, len(received)) == ("ReadError", 2)
    assert fault.sent_at is not None


@pytest.mark.parametrize("make", [get, post])
def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(
    transport: Client, make: Callable[[str], Request]
) -> None:
    closed = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        connection.close()
        closed.set()

    async def calls(transport: Transport) -> None:
        for _ in range(3):
            assert (await transport.send(make(server.origin))).body == BODY
            await asyncio.to_thread(closed.wait)
            closed.clear()
            await asyncio.sleep(0)

    with LoopbackServer(converse) as server:
        transport.run(calls)
        assert server.connections == 3


def test_what_a_server_says_unasked_is_no_answer_to_the_next_request(transport: Client) -> None:
    spoken = threading.Event()

    def converse(connection: Connection) -> None:
        number = len(server._served)
        connection.request()
        connection.answer(b"answer %d" % number)
        connection.answer(b"unasked")
        spoken.set()
        connection.request()

    async def calls(transport: Transport) -> list[bytes]:
        bodies = []
        for _ in range(3):
            bodies.append((await transport.send(get(server.origin))).body)
            assert await asyncio.to_thread(spoken.wait, 10)
            spoken.clear()
            await asyncio.sleep(0)
        return bodies

    with LoopbackServer(converse) as server:
        assert transport.run(calls) == [b"answer 1", b"answer 2", b"answer 3"]


def test_the_moment_of_sending_is_when_the_request_was_written_not_when_it_was_answered(transport: Client) -> None:
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
    transport: Client, make: Callable[[str], Request]
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
def test_an_address_that_is_none_is_a_fault_and_not_sent(transport: Client, url: str, code: str | None) -> None:
    with pytest.raises(TransportFault) as raised:
        transport.send(Request("GET", url, {"host": "h"}))
    assert code in {None, raised.value.answer.code}
    assert raised.value.sent_at is None
    assert "hush-hush" not in str(raised.value)


def test_300_calls_at_once_share_the_connections(runner: asyncio.Runner) -> None:
    client = Client(runner, LONG, concurrency=40)

    async def calls(transport: Transport) -> list[Response]:
        return await asyncio.gather(*(transport.send(make(server.origin)) for make in [get, post] * 150))

    with LoopbackServer(answer_forever) as server:
        responses = client.run(calls)
        assert server.connections <= 40
        client.close()
    assert [response.body for response in responses] == [BODY] * 300


def test_300_calls_go_out_together(runner: asyncio.Runner) -> None:
    client = Client(runner, LONG, concurrency=300)
    together = threading.Barrier(300)

    def converse(connection: Connection) -> None:
        connection.request()
        together.wait(20)
        connection.answer(BODY)

    async def calls(transport: Transport) -> list[Response]:
        return await asyncio.gather(*(transport.send(get(server.origin)) for _ in range(300)))

    with LoopbackServer(converse) as server:
        assert len(client.run(calls)) == 300
        client.close()


def test_a_call_that_gets_no_connection_in_time_is_a_pool_timeout(runner: asyncio.Runner) -> None:
    client = Client(runner, SHORT, concurrency=1)
    taken = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        taken.set()
        connection.hang()

    async def calls(transport: Transport) -> TransportFault:
        # The one that has the connection ends with the test, not before the other's time is up.
        slow = Transport(LONG, 1, transport=transport._transport)
        first = asyncio.create_task(slow.send(get(server.origin)))
        await asyncio.to_thread(taken.wait)
        with pytest.raises(TransportFault) as raised:
            await transport.send(get(server.origin))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return raised.value

    with LoopbackServer(converse) as server:
        fault = client.run(calls)
        client.close()
    assert_told(fault, get(server.origin))
    assert (fault.answer.code, fault.sent_at) == ("PoolTimeout", None)


def test_a_call_whose_connection_closes_before_a_byte_is_written_was_not_sent(runner: asyncio.Runner) -> None:
    client = Client(runner, LONG)
    received: list[bytes] = []

    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        received.append(connection.request())

    async def calls(transport: Transport) -> TransportFault:
        await transport.send(get(server.origin))
        call = asyncio.create_task(transport.send(post(server.origin)))
        # From Python 3.12 on, the body is written in this step already.
        await asyncio.sleep(0)
        await transport.close()
        with pytest.raises(TransportFault) as raised:
            await call
        return raised.value

    with LoopbackServer(converse) as server:
        fault = client.run(calls)
        assert_told(fault, get(server.origin))
    assert (fault.sent_at is None) == (not received)
    assert fault.answer.code == ("RemoteProtocolError" if received else "WriteError")


@pytest.mark.parametrize("converse", [hang_at_once, hang_in_the_body, drip_the_body])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_call_that_is_cancelled_or_late_leaves_no_connection_and_no_task(
    runner: asyncio.Runner, converse: Conversation, scheme: str
) -> None:
    client = Client(runner, SHORT, concurrency=8)
    reached = threading.Semaphore(0)
    gone: list[bool] = []

    def count(connection: Connection) -> None:
        reached.release()
        try:
            converse(connection)
        finally:
            gone.append(connection.client_is_gone())

    async def calls(transport: Transport) -> None:
        patient = Transport(LONG, 1, transport=transport._transport)
        origin = server.origin.replace("http:", f"{scheme}:")
        cancelled = [asyncio.create_task(patient.send(make(origin))) for make in [get, post] * 4]
        for _ in cancelled:
            await asyncio.to_thread(reached.acquire)
        for call in cancelled:
            call.cancel()
        ends = await asyncio.gather(*cancelled, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        # All of them left their places, or these would wait in vain.
        late = await asyncio.gather(*(transport.send(make(origin)) for make in [get, post] * 4), return_exceptions=True)
        codes = {end.answer.code for end in late if isinstance(end, TransportFault)}
        assert codes == {"ReadTimeout" if scheme == "http" else "ConnectTimeout"}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with LoopbackServer(count) as server:
        client.run(calls)
        client.close()
        assert server.connections == 16
    assert gone == [True] * 16


def test_a_call_under_way_when_the_transport_closes_is_a_fault_and_so_is_a_later_one(runner: asyncio.Runner) -> None:
    client = Client(runner, LONG)
    taken = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        taken.set()
        connection.hang()

    async def calls(transport: Transport) -> list[TransportFault]:
        call = asyncio.create_task(transport.send(get(server.origin)))
        await asyncio.to_thread(taken.wait)
        await transport.close()
        faults = []
        for one in (call, transport.send(get(server.origin))):
            with pytest.raises(TransportFault) as raised:
                await one
            faults.append(raised.value)
        return faults

    with LoopbackServer(converse) as server:
        under_way, later = client.run(calls)
    assert under_way.answer.code == "RemoteProtocolError"
    assert under_way.sent_at is not None
    assert (later.answer.code, later.sent_at) == ("ConnectError", None)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that no authority has signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(key.private_bytes(pem, *plain) + signed.public_bytes(pem))
    return file


def test_a_certificate_that_nobody_vouches_for_is_refused_whatever_the_environment_says(
    runner: asyncio.Runner, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    transport = Client(runner, LONG)
    with LoopbackServer(answer_forever, context) as server:
        fault = fault_of(transport, get(server.origin))
    transport.close()
    assert fault.answer.code == "ConnectError"
    assert "CERTIFICATE_VERIFY_FAILED" in (fault.answer.message or "")
    assert fault.sent_at is None


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Let clients trust the certificate, and return a server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: made)
    return context


def test_a_trusted_certificate_serves_many_calls_over_one_connection(
    trusted: ssl.SSLContext, runner: asyncio.Runner
) -> None:
    client = Client(runner, LONG)
    with LoopbackServer(answer_forever, trusted) as server:
        for make in (get, post, get):
            assert client.send(make(server.origin)).body == BODY
        assert server.connections == 1
        client.close()


def test_a_certificate_for_another_name_is_refused(trusted: ssl.SSLContext, names: Names) -> None:
    resolve = socket.getaddrinfo

    def here(host: str, port: int, *rest: int, **named: int) -> list[object]:
        return list(resolve("127.0.0.1", port, *rest, **named))

    with LoopbackServer(answer_forever, trusted) as server:
        fault = fault_of(names(LONG, here), get(f"https://other.example:{server.port}"))
    assert fault.answer.code == "ConnectError"
    assert "CERTIFICATE_VERIFY_FAILED" in (fault.answer.message or "")


def test_a_server_that_never_ends_the_tls_handshake_is_a_connect_timeout(hurried: Client) -> None:
    with LoopbackServer(hang_at_once) as server:
        fault = fault_of(hurried, get(server.origin.replace("http:", "https:")))
    assert (fault.answer.code, fault.sent_at) == ("ConnectTimeout", None)


def test_a_server_that_speaks_no_tls_is_a_connect_error(transport: Client) -> None:
    def converse(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 hush-hush\r\n\r\n")

    with LoopbackServer(converse) as server:
        fault = fault_of(transport, get(server.origin.replace("http:", "https:")))
    assert (fault.answer.code, fault.sent_at) == ("ConnectError", None)
