"""The transport sends what was signed, as it is, and is back in time whatever the server does."""

import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamstop.operations import Meaning, StopMPUTask, StopStreamIngest
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
NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(LONG, pool_size=4)
    yield transport
    transport.close()


@pytest.fixture
def hurried() -> Iterator[Transport]:
    transport = Transport(SHORT, pool_size=4)
    yield transport
    transport.close()


def get(origin: str) -> Request:
    return Request("GET", f"{origin}{QUERY}", {"host": origin.partition("://")[2]})


def fault_of(transport: Transport, request: Request) -> TransportFault:
    began = monotonic()
    with pytest.raises(TransportFault) as raised:
        transport.send(request)
    assert monotonic() - began < 5
    assert raised.value.answer.meaning is Meaning.TRANSIENT
    assert raised.value.answer.known
    for said in (str(raised.value), repr(raised.value.answer)):
        assert "hush-hush" not in said
        assert "LTAI-id" not in said
    assert request.headers["host"] in (raised.value.answer.message or "")
    return raised.value


def code_of(transport: Transport, request: Request) -> str | None:
    return fault_of(transport, request).answer.code


def answering(conversation: httpx.Response | httpx.TransportError) -> Transport:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(conversation, httpx.Response):
            return conversation
        raise conversation

    return Transport(LONG, pool_size=1, transport=httpx.MockTransport(handle))


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
    transport: Transport, account: Account, operation: StopMPUTask | StopStreamIngest
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


def test_status_headers_and_body_come_back() -> None:
    headers = [("X-Acs-Request-Id", "R"), ("Via", "a"), ("via", "b")]
    response = answering(httpx.Response(503, headers=headers, content=b"<html>")).send(get("https://live.aliyuncs.com"))
    assert response == Response(503, {"x-acs-request-id": "R", "via": "a, b", "content-length": "6"}, b"<html>")


def test_a_redirect_is_not_followed(transport: Transport) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(b"", b"Location: /elsewhere", status=b"302 Found")

    with LoopbackServer(converse) as server:
        response = transport.send(get(server.origin))
    assert (response.status, response.headers["location"]) == (302, "/elsewhere")


def test_one_connection_serves_many_calls_and_no_cookie_is_kept(transport: Transport) -> None:
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


def test_a_connection_that_the_server_gave_up_is_a_fault_and_the_next_call_opens_another(transport: Transport) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        connection.request()  # and closes instead of answering

    with LoopbackServer(converse) as server:
        transport.send(get(server.origin))
        assert code_of(transport, get(server.origin)) == "RemoteProtocolError"
        assert transport.send(get(server.origin)).body == BODY


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    transport = Transport(LONG, pool_size=1)
    with LoopbackServer(answer_forever) as server:
        assert transport.send(get(server.origin)).body == BODY
        transport.close()


def test_a_port_where_nobody_listens_is_a_connect_error(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert code_of(transport, get(f"http://127.0.0.1:{port}")) == "ConnectError"


def test_a_name_that_does_not_resolve_is_a_connect_error(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert code_of(transport, get("http://nowhere.invalid")) == "ConnectError"


def test_a_dead_address_of_a_host_does_not_keep_from_the_next(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: int, **named: int) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [found for one in hosts for found in resolve(one, port, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with LoopbackServer(answer_forever) as server:
        assert transport.send(get(f"http://two.example:{server.port}")).body == BODY


def test_a_server_that_accepts_nobody_is_a_connect_timeout(hurried: Transport) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        # Linux drops what comes when the queue of the not yet accepted is full: one more than the backlog.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        code = code_of(hurried, get(f"http://127.0.0.1:{address[1]}"))
        for sock in waiting:
            sock.close()
    assert code == "ConnectTimeout"


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
def test_a_server_that_hangs_or_drips_is_a_read_timeout(hurried: Transport, converse: Conversation) -> None:
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


@pytest.mark.parametrize(
    ("converse", "code"),
    [
        (reset_at_once, "ReadError"),
        (reset_in_the_body, "ReadError"),
        (close_in_the_body, "RemoteProtocolError"),
        (speak_another_protocol, "RemoteProtocolError"),
        (send_an_endless_header, "RemoteProtocolError"),
    ],
)
def test_a_connection_that_breaks_is_a_fault(transport: Transport, converse: Conversation, code: str) -> None:
    with LoopbackServer(converse) as server:
        assert code_of(transport, get(server.origin)) == code


def compressed(body: bytes, encoding: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body))


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_body_that_was_compressed_unasked_is_read(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    assert answering(compressed(encode(BODY), encoding)).send(get("https://live.aliyuncs.com")).body == BODY


def test_a_body_of_the_longest_length_is_read() -> None:
    response = answering(httpx.Response(200, content=b" " * LONGEST_BODY)).send(get("https://live.aliyuncs.com"))
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
    assert code_of(answering(response), get("https://live.aliyuncs.com")) == "BodyTooLarge"


def test_an_endless_body_is_a_fault(transport: Transport) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with LoopbackServer(converse) as server:
        assert code_of(transport, get(server.origin)) == "BodyTooLarge"


def test_a_body_that_cannot_be_decompressed_is_a_fault() -> None:
    assert code_of(answering(compressed(BODY, "gzip")), get("https://live.aliyuncs.com")) == "BadEncoding"


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
    fault = fault_of(answering(error), get("https://live.aliyuncs.com"))
    assert fault.answer.code == type(error).__name__
    assert len(fault.answer.message or "") < 300


def test_threads_share_the_connections_without_taking_them_from_each_other(transport: Transport) -> None:
    with LoopbackServer(answer_forever) as server, ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(lambda _: transport.send(get(server.origin)), range(200)))
        assert server.connections <= 4
    assert {response.body for response in responses} == {BODY}


def test_the_wait_for_a_connection_counts_as_a_part_of_the_call() -> None:
    taken = threading.Event()

    def converse(connection: Connection) -> None:
        connection.request()
        taken.set()
        connection.hang()

    transport = Transport(SHORT, pool_size=1)
    with LoopbackServer(converse) as server, ThreadPoolExecutor(1) as threads:
        first = threads.submit(code_of, transport, get(server.origin))
        assert taken.wait(10)
        # Which step meets the end of the time depends on when the first call gives its connection back.
        assert str(code_of(transport, get(server.origin))).endswith("Timeout")
        assert first.result() == "ReadTimeout"
    transport.close()


def test_a_call_that_gets_no_connection_in_time_is_a_pool_timeout() -> None:
    taken, over = threading.Event(), threading.Event()

    def handle(_: httpx.Request) -> httpx.Response:
        taken.set()
        over.wait()
        return httpx.Response(200, content=BODY)

    transport = Transport(SHORT, pool_size=1, transport=httpx.MockTransport(handle))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(transport.send, get("https://live.aliyuncs.com"))
        assert taken.wait(10)
        assert code_of(transport, get("https://live.aliyuncs.com")) == "PoolTimeout"
        over.set()
        assert first.result().body == BODY


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
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    transport = Transport(LONG, pool_size=1)
    with LoopbackServer(answer_forever, context) as server:
        fault = fault_of(transport, get(server.origin))
    transport.close()
    assert fault.answer.code == "ConnectError"
    assert "CERTIFICATE_VERIFY_FAILED" in (fault.answer.message or "")


def test_a_server_that_never_ends_the_tls_handshake_is_a_connect_timeout(hurried: Transport) -> None:
    with LoopbackServer(hang_at_once) as server:
        assert code_of(hurried, get(server.origin.replace("http:", "https:"))) == "ConnectTimeout"
