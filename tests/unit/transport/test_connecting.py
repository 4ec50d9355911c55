"""Name resolution and connecting: each failure is a fault, and ends in time."""

import socket
import threading
from typing import Any

import pytest

from streamstop_worker import aiohttp_adapter
from streamstop_worker import transport as transport_module
from streamstop_worker.aiohttp_adapter import Progress
from tests.support.loopback import Connection, LoopbackServer
from tests.support.transport_calls import (
    BODY,
    LONG,
    SHORT,
    ClientResolving,
    TransportClient,
    answer_forever,
    error_code,
    fault_of,
    full_listener,
    get,
)


def test_a_port_where_nobody_listens_is_a_connect_error(transport: TransportClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert error_code(transport, get(f"http://127.0.0.1:{port}")) == "ConnectError"


def test_a_name_that_does_not_resolve_is_a_connect_error(client_resolving: ClientResolving) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    fault = fault_of(client_resolving(LONG, resolve), get("http://nowhere.invalid"))
    assert (fault.answer.code, fault.sent_at) == ("ConnectError", None)
    assert "Name or service not known" in (fault.answer.message or "")


def test_a_resolver_that_hangs_is_a_connect_timeout(client_resolving: ClientResolving) -> None:
    over = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        over.wait()
        return []

    fault = fault_of(client_resolving(SHORT, resolve), get("http://slow.example"))
    over.set()
    assert (fault.answer.code, fault.sent_at) == ("ConnectTimeout", None)


def test_if_an_address_of_a_host_refuses_the_next_is_tried(client_resolving: ClientResolving) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: int, **named: int) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [found for one in hosts for found in resolve(one, port, *rest, **named)]

    with LoopbackServer(answer_forever) as server:
        assert client_resolving(LONG, two_addresses).send(get(f"http://two.example:{server.port}")).body == BODY


def test_if_an_address_of_a_host_hangs_the_next_is_tried(client_resolving: ClientResolving) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: int, **named: int) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [found for one in hosts for found in resolve(one, port, *rest, **named)]

    with LoopbackServer(answer_forever) as server, full_listener("127.0.0.2", server.port):
        assert client_resolving(LONG, two_addresses).send(get(f"http://two.example:{server.port}")).body == BODY


def test_a_full_accept_queue_is_a_connect_timeout(short_timeout_transport: TransportClient) -> None:
    with full_listener("127.0.0.1") as port:
        fault = fault_of(short_timeout_transport, get(f"http://127.0.0.1:{port}"))
    assert (fault.answer.code, fault.sent_at) == ("ConnectTimeout", None)


def test_connecting_has_its_own_shorter_timeout(transport: TransportClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_adapter, "CONNECT_TIMEOUT", SHORT)
    with full_listener("127.0.0.1") as port:
        assert error_code(transport, get(f"http://127.0.0.1:{port}")) == "ConnectTimeout"


def test_an_open_connection_leaves_the_rest_of_the_timeout_to_the_answer(
    transport: TransportClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: list[Progress] = []
    deadlines: list[float | None] = []

    def progress(*arguments: Any) -> Progress:
        under_way.append(Progress(*arguments))
        return under_way[-1]

    def converse(connection: Connection) -> None:
        connection.request()
        deadlines.append(under_way[0].deadline.when())
        connection.answer(BODY)

    monkeypatch.setattr(aiohttp_adapter, "CONNECT_TIMEOUT", LONG / 2)
    monkeypatch.setattr(transport_module, "Progress", progress)
    with LoopbackServer(converse) as server:
        assert transport.send(get(server.origin)).body == BODY
    assert deadlines == [under_way[0].ends_at]
