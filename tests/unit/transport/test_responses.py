"""Responses that hang, break off, exceed the size limit or cannot be decoded are faults."""

import gzip
import zlib
from collections.abc import Callable

import httpx
import pytest

from streamstop_worker.transport import LONGEST_BODY
from tests.support.loopback import Connection, LoopbackServer
from tests.support.transport_calls import (
    BODY,
    SHORT,
    Conversation,
    TransportClient,
    drip_the_body,
    error_code,
    fault_of,
    fault_of_once,
    get,
    hang,
    hang_in_the_body,
    post,
    send_once,
    transport_answering,
)


def drip_the_head(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    connection.drip(b"a")


def drip_informational_responses(connection: Connection) -> None:
    connection.request()
    connection.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def drip_chunks(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.drip(b"1\r\n \r\n")


@pytest.mark.parametrize(
    "converse",
    [hang, hang_in_the_body, drip_the_head, drip_informational_responses, drip_the_body, drip_chunks],
)
def test_a_server_that_hangs_or_drips_is_a_read_timeout(transport: TransportClient, converse: Conversation) -> None:
    def converse_after_an_answer(connection: Connection) -> None:
        connection.request()
        connection.answer(BODY)
        converse(connection)

    with LoopbackServer(converse_after_an_answer) as server:
        transport.send(get(server.origin))  # the connection is open, so that the short timeout is for the answer alone
        fault = fault_of(transport.with_timeout(SHORT), get(server.origin))
        assert server.connections == 1
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
def test_a_connection_that_breaks_is_a_fault(transport: TransportClient, converse: Conversation, code: str) -> None:
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
    assert (
        send_once(transport_answering(compressed(encode(BODY), encoding)), get("https://live.aliyuncs.com")).body
        == BODY
    )


def test_a_body_of_the_longest_length_is_read() -> None:
    response = send_once(
        transport_answering(httpx.Response(200, content=b" " * LONGEST_BODY)), get("https://live.aliyuncs.com")
    )
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
    assert fault_of_once(transport_answering(response), get("https://live.aliyuncs.com")).answer.code == "BodyTooLarge"


def test_an_endless_body_is_a_fault(transport: TransportClient) -> None:
    def converse(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    with LoopbackServer(converse) as server:
        assert error_code(transport, get(server.origin)) == "BodyTooLarge"


def test_a_body_that_cannot_be_decompressed_is_a_fault() -> None:
    fault = fault_of_once(transport_answering(compressed(BODY, "gzip")), get("https://live.aliyuncs.com"))
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
    fault = fault_of_once(transport_answering(error), get("https://live.aliyuncs.com"))
    assert fault.answer.code == type(error).__name__
    assert len(fault.answer.message or "") < 300
