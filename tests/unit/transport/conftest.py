"""Fixtures for the transport's tests: transports with long and short timeouts, name resolution, and TLS."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamstop_worker import aiohttp_adapter
from tests.support.transport_calls import LONG, SHORT, TransportClient


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@pytest.fixture(autouse=True)
def _patient_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connection take longer than three seconds: this process may stand still while it connects."""
    monkeypatch.setattr(aiohttp_adapter, "CONNECT_TIMEOUT", LONG)


@pytest.fixture
def transport(runner: asyncio.Runner) -> Iterator[TransportClient]:
    client = TransportClient(runner, LONG)
    yield client
    client.close()


@pytest.fixture
def short_timeout_transport(runner: asyncio.Runner) -> Iterator[TransportClient]:
    client = TransportClient(runner, SHORT)
    yield client
    client.close()


@pytest.fixture
def client_resolving(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[timedelta, Callable[..., list[object]]], TransportClient]]:
    """Return how to make a client for which names resolve as a test says, in the standard library's loop."""
    with ExitStack() as stack:

        def make(timeout: timedelta, resolve: Callable[..., list[object]]) -> TransportClient:
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            client = TransportClient(stack.enter_context(asyncio.Runner()), timeout)
            stack.callback(client.close)
            return client

        yield make


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


@pytest.fixture
def trusted_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Let clients trust the certificate, and return a server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: made)
    return context
