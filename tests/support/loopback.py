"""A server on loopback whose behaviour tests script: each connection runs a conversation."""

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Connection:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self._sock = sock
        self._over = over
        self._received = b""

    def request(self) -> bytes:
        """Return the next request, head and body; raises OSError when the client has closed."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, end, _ = self._received.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        whole = len(head + end) + sum(map(int, lengths))
        while len(self._received) < whole:
            self._receive()
        request, self._received = self._received[:whole], self._received[whole:]
        return request

    def send(self, content: bytes) -> None:
        """Send `content` as it is."""
        self._sock.sendall(content)

    def answer(self, body: bytes, *headers: bytes, status: bytes = b"200 OK") -> None:
        """Send a response that keeps the connection."""
        lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body]
        self.send(b"\r\n".join(lines))

    def drip(self, drop: bytes) -> None:
        """Send `drop` over and over, far more often than any single read times out, until the test is over."""
        while not self._over.wait(0.01):
            self.send(drop)

    def hang(self) -> None:
        """Send nothing until the test is over."""
        self._over.wait()

    def pass_on(self, port: int) -> None:
        """Pass what arrives on to `port` of loopback, and the answers back, until either side closes."""
        with socket.create_connection(("127.0.0.1", port)) as server:
            other_end = {self._sock: server, server: self._sock}
            while True:
                for source in self._readable(server):
                    chunk = source.recv(65536)
                    if not chunk:
                        return
                    other_end[source].sendall(chunk)

    def close(self) -> None:
        """Close so that the client meets an orderly end."""
        self._sock.close()

    def client_is_gone(self) -> bool:
        """Wait until the client has closed its end too."""
        with contextlib.suppress(OSError):
            while self._sock.recv(65536):
                pass
        return True

    def reset(self) -> None:
        """Close so that the client meets a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _readable(self, server: socket.socket) -> list[socket.socket]:
        # TLS reads whole records from the socket: what it has decrypted already, select does not see.
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return [self._sock]
        return select.select([self._sock, server], [], [])[0]

    def _receive(self) -> None:
        chunk = self._sock.recv(65536)
        if not chunk:
            raise ConnectionError("the client has closed")
        self._received += chunk


class LoopbackServer:
    """Serves every connection by `conversation` in a thread of its own, until the ``with`` block ends."""

    def __init__(self, conversation: Callable[[Connection], None], tls: ssl.SSLContext | None = None) -> None:
        self._conversation = conversation
        self._tls = tls
        self._over = threading.Event()
        # With a full backlog the kernel drops what connects, which tries again after one second and after three.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._acceptor = threading.Thread(target=self._accept)
        self._served: list[tuple[socket.socket, threading.Thread]] = []
        self.port = int(self._listener.getsockname()[1])

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:<port>``, or https."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections were ever accepted."""
        return len(self._served)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone does not wake accept
        self._acceptor.join()
        self._listener.close()
        for sock, thread in self._served:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not that of TLS, which takes the TLS from the thread
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=[len(self._served)])
                self._served.append((sock, thread))
                thread.start()

    def _serve(self, number: int) -> None:
        sock, thread = self._served[number]
        # Many tests close the client's end.
        with contextlib.suppress(OSError), sock:
            if self._tls is None:
                self._conversation(Connection(sock, self._over))
                return
            with self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
                self._served[number] = (
                    secured,
                    thread,
                )  # what was accepted is detached, and cannot be shut down any more
                if not self._over.is_set():
                    secured.do_handshake()
                    self._conversation(Connection(secured, self._over))
