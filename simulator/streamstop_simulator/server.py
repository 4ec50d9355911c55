"""Serves the simulation over HTTP, with h11 and plain sockets: some faults need access to the socket.

Each connection has a task. The server records both when it accepts, so that close() leaves neither. asyncio's own
servers start tasks that nobody can await, and its streams close their sockets in a later turn of the loop, which may
never come. An answer is written in one piece, unless a fault cuts it.
"""

import asyncio
import socket
from contextlib import suppress

import h11

from streamstop_simulator.control import PREFIX, Control
from streamstop_simulator.messages import Answer, ReceivedRequest, TransportFault
from streamstop_simulator.simulation import Simulation
from streamstop_simulator.sockets import Connection, Listener

_CHUNK = 64 * 1024
_LARGEST_BODY = 64 * 1024 * 1024
#: How long no connection is accepted after the system refused one, for lack of file descriptors for example, in s.
_ACCEPT_AGAIN_AFTER = 1.0


class _ConnectionEnded(Exception):
    """The caller closed the connection, or it cannot be used any more."""


class Server:
    """Serves a simulation on `host` and `port`; port 0 selects a free one."""

    def __init__(self, simulation: Simulation, host: str = "127.0.0.1", port: int = 0) -> None:
        self.simulation = simulation
        self._control = Control(simulation)
        self._host = host
        self._port = port
        self._listener: Listener | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}

    @property
    def url(self) -> str:
        """The server's URL: ``http://127.0.0.1:8099``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises :class:`OSError` if the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = Listener(family, (self._host, self._port), backlog=1024)
        self._port = self._listener.getsockname()[1]
        self._accept_from(self._listener)

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept_from(self, listener: Listener) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                connection = listener.next_connection()
                task = loop.create_task(self._serve(connection))
                self._connections[task] = connection
                # Not `finally` in the task: one that is cancelled before its first step runs none of its code.
                task.add_done_callback(self._ended)
        except (BlockingIOError, ConnectionAbortedError):
            pass
        except OSError as error:
            loop.call_exception_handler({"message": "the simulator cannot accept a connection", "exception": error})
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_AGAIN_AFTER, self._accept_from, listener)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._connections.pop(task).close()
        if not task.cancelled() and (error := task.exception()):
            message = "a connection of the simulator ended with an error"
            task.get_loop().call_exception_handler({"message": message, "exception": error})

    async def _serve(self, connection: Connection) -> None:
        with suppress(_ConnectionEnded, ConnectionError, TimeoutError):
            await self._converse(connection)

    async def _converse(self, connection: Connection) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            try:
                request = await self._receive(http, connection)
            except h11.RemoteProtocolError as error:
                if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    answer = Answer(error.error_status_hint, "text/plain", f"{error}\n".encode())
                    await _write(connection, _bytes(http, answer))
                return
            await self._send(http, connection, await self._answer(request))
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _receive(self, http: h11.Connection, connection: Connection) -> ReceivedRequest:
        head = await _next_event(http, connection)
        if not isinstance(head, h11.Request):
            raise _ConnectionEnded
        clock = self.simulation.clock
        age = connection.age()
        epoch, at = clock.epoch() - age, clock.monotonic() - age
        if http.they_are_waiting_for_100_continue:
            interim = http.send(h11.InformationalResponse(status_code=100, headers=[]))
            await _write(connection, interim or b"")
        body = b""
        while isinstance(event := await _next_event(http, connection), h11.Data):
            body += event.data
            if len(body) > _LARGEST_BODY:
                raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
        if not isinstance(event, h11.EndOfMessage):
            raise _ConnectionEnded
        headers: dict[str, str] = {}
        for name, value in head.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        path, _, query = head.target.decode("latin-1").partition("?")
        return ReceivedRequest(head.method.decode("latin-1"), path, query, headers, body, epoch, at)

    async def _answer(self, request: ReceivedRequest) -> Answer:
        if request.path.startswith(PREFIX):
            return await self._control.answer(request)
        answer = self.simulation.answer(request)
        if answer is None:
            return Answer(404, "application/json", b'{"error": "neither a call to a vendor nor a control path"}')
        return answer

    async def _send(self, http: h11.Connection, connection: Connection, answer: Answer) -> None:
        if answer.delay_ms:
            await asyncio.sleep(answer.delay_ms / 1000)
        match answer.transport_fault:
            case None:
                await _write(connection, _bytes(http, answer))
            case TransportFault.HALF_BODY:
                await _write(connection, _bytes(http, answer)[: -len(answer.body) // 2])
                raise _ConnectionEnded
            case TransportFault.RESET:
                connection.reset_on_close()
                raise _ConnectionEnded
            case TransportFault.HANG:
                while await _read(connection):
                    pass
                raise _ConnectionEnded


async def _next_event(http: h11.Connection, connection: Connection) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await _read(connection))
    return event


async def _read(connection: Connection) -> bytes:
    return await asyncio.get_running_loop().sock_recv(connection, _CHUNK)


async def _write(connection: Connection, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, data)


def _bytes(http: h11.Connection, answer: Answer) -> bytes:
    head = h11.Response(
        status_code=answer.status,
        headers=[
            ("content-type", answer.content_type),
            ("content-length", str(len(answer.body))),
            *answer.headers,
        ],
    )
    parts = (http.send(head), http.send(h11.Data(data=answer.body)), http.send(h11.EndOfMessage()))
    return b"".join(part or b"" for part in parts)
