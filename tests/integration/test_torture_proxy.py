"""The torture's proxy: it passes, cuts, swallows and delays connections."""

import socket
import time
from collections.abc import Iterator

import pytest

from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import TIMEOUT_S
from tests.torture.proxy import Proxy, proxies


def _echo(connection: Connection) -> None:
    while True:
        connection.answer(b"echo", status=b"200 " + connection.request().split(b" ")[1])


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Return a proxy to a server that answers each request with its path."""
    with LoopbackServer(_echo) as server, proxies() as made:
        yield made.to(server.port)


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S)


def ask(sock: socket.socket, path: bytes) -> bytes:
    sock.sendall(b"GET " + path + b" HTTP/1.1\r\n\r\n")
    return sock.recv(65536)


def test_requests_and_answers_pass_on_one_connection(proxy: Proxy) -> None:
    with connected(proxy) as sock:
        assert b"/one" in ask(sock, b"/one")
        assert b"/two" in ask(sock, b"/two")


def test_a_cut_resets_connections_and_new_ones_pass(proxy: Proxy) -> None:
    with connected(proxy) as sock:
        ask(sock, b"/one")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            ask(sock, b"/two")
    with connected(proxy) as sock:
        assert b"/three" in ask(sock, b"/three")


def test_a_half_open_connection_swallows_and_is_then_cut(proxy: Proxy) -> None:
    with connected(proxy) as sock:
        ask(sock, b"/one")
        proxy.half_open(0.3)
        with pytest.raises(ConnectionResetError):
            ask(sock, b"/two")
    with connected(proxy) as sock:
        assert b"/three" in ask(sock, b"/three")


def test_a_slow_connection_delays_each_way(proxy: Proxy) -> None:
    with connected(proxy) as sock:
        ask(sock, b"/one")
        proxy.slow(0.2, seconds=60)
        asked = time.monotonic()
        assert b"/two" in ask(sock, b"/two")
        assert time.monotonic() - asked >= 0.4


def test_connections_are_cut_while_the_target_is_away() -> None:
    with proxies() as made, pytest.raises(ConnectionResetError), connected(made.to(free_port())) as sock:
        ask(sock, b"/one")
