"""Serves the simulation over HTTP, with h11 and asyncio streams: some faults need access to the socket.

Each connection has a task. An answer is written in one piece, unless a fault cuts it.
"""

import asyncio
import socket
import struct

import h11

from streamstop_simulator.control import PREFIX, Control
from streamstop_simulator.messages import Answer, ReceivedRequest, TransportFault
from streamstop_simulator.simulation import Simulation
from streamstop_simulator.sockets import Listener

_CHUNK = 64 * 1024
_LARGEST_BODY = 64 * 1024 * 1024


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
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's URL: ``http://127.0.0.1:8099``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises :class:`OSError` if the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = Listener(family, (self._host, self._port), backlog=1024)
        self._server = await asyncio.start_server(self._connected, sock=self._listener, backlog=1024)
        self._port = self._listener.getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)  # a task that has not started would leave its connection open
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio runs this in a task")
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (_ConnectionEnded, ConnectionError, asyncio.CancelledError):
            pass  # the caller closed the connection, or close() cancelled the task
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            try:
                request = await self._receive(http, reader, writer)
            except h11.RemoteProtocolError as error:
                if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    answer = Answer(error.error_status_hint, "text/plain", f"{error}\n".encode())
                    writer.write(_bytes(http, answer))
                return
            await self._send(http, reader, writer, await self._answer(request))
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _receive(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> ReceivedRequest:
        head = await _next_event(http, reader)
        if not isinstance(head, h11.Request):
            raise _ConnectionEnded
        clock = self.simulation.clock
        connection = writer.get_extra_info("socket")
        age = self._listener.age(connection.fileno()) if self._listener and connection else 0.0
        epoch, at = clock.epoch() - age, clock.monotonic() - age
        if http.they_are_waiting_for_100_continue:
            interim = http.send(h11.InformationalResponse(status_code=100, headers=[]))
            writer.write(interim or b"")
        body = b""
        while isinstance(event := await _next_event(http, reader), h11.Data):
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

    async def _send(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
    ) -> None:
        if answer.delay_ms:
            await asyncio.sleep(answer.delay_ms / 1000)
        match answer.transport_fault:
            case None:
                writer.write(_bytes(http, answer))
                await writer.drain()
            case TransportFault.HALF_BODY:
                writer.write(_bytes(http, answer)[: -len(answer.body) // 2])
                await writer.drain()
                raise _ConnectionEnded
            case TransportFault.RESET:
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                raise _ConnectionEnded
            case TransportFault.HANG:
                while await reader.read(_CHUNK):
                    pass
                raise _ConnectionEnded


async def _next_event(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_CHUNK))
    return event


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
