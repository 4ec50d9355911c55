"""The transport verifies certificates, and each TLS failure is a fault."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from tests.support.loopback import Connection, LoopbackServer
from tests.support.transport_calls import (
    BODY,
    LONG,
    ClientResolving,
    TransportClient,
    answer_forever,
    fault_of,
    get,
    hang,
    post,
)


def test_an_untrusted_certificate_is_refused_even_if_the_environment_trusts_it(
    runner: asyncio.Runner, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    transport = TransportClient(runner, LONG)
    with LoopbackServer(answer_forever, context) as server:
        fault = fault_of(transport, get(server.origin))
    transport.close()
    assert fault.answer.code == "ConnectError"
    assert "CERTIFICATE_VERIFY_FAILED" in (fault.answer.message or "")
    assert fault.sent_at is None


def test_a_trusted_certificate_serves_many_calls_over_one_connection(
    trusted_tls: ssl.SSLContext, runner: asyncio.Runner
) -> None:
    client = TransportClient(runner, LONG)
    with LoopbackServer(answer_forever, trusted_tls) as server:
        for make in (get, post, get):
            assert client.send(make(server.origin)).body == BODY
        assert server.connections == 1
        client.close()


def test_a_certificate_for_another_name_is_refused(
    trusted_tls: ssl.SSLContext, client_resolving: ClientResolving
) -> None:
    resolve = socket.getaddrinfo

    def here(host: str, port: int, *rest: int, **named: int) -> list[object]:
        return list(resolve("127.0.0.1", port, *rest, **named))

    with LoopbackServer(answer_forever, trusted_tls) as server:
        fault = fault_of(client_resolving(LONG, here), get(f"https://other.example:{server.port}"))
    assert fault.answer.code == "ConnectError"
    assert "CERTIFICATE_VERIFY_FAILED" in (fault.answer.message or "")


def test_a_server_that_never_ends_the_tls_handshake_is_a_connect_timeout(
    short_timeout_transport: TransportClient,
) -> None:
    with LoopbackServer(hang) as server:
        fault = fault_of(short_timeout_transport, get(server.origin.replace("http:", "https:")))
    assert (fault.answer.code, fault.sent_at) == ("ConnectTimeout", None)


def test_a_server_that_speaks_no_tls_is_a_connect_error(transport: TransportClient) -> None:
    def converse(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 hush-hush\r\n\r\n")

    with LoopbackServer(converse) as server:
        fault = fault_of(transport, get(server.origin.replace("http:", "https:")))
    assert (fault.answer.code, fault.sent_at) == ("ConnectError", None)
