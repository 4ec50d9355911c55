"""A proxy on loopback that terminates TLS in front of a server without it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.loopback import Connection, LoopbackServer


@contextmanager
def tls_proxy(certificate: Path, port: int) -> Iterator[int]:
    """Pass on connections to `port` of loopback until the block ends; yield the port that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def pass_on(connection: Connection) -> None:
        connection.pass_on(port)

    with LoopbackServer(pass_on, tls=context) as server:
        yield server.port
