"""HTTP for the simulation: h11 over asyncio streams, because a fault needs the socket itself in hand.

Every connection is one task. An answer is written in one piece, unless it is to be spoiled.
"""

import asyncio
import socket
import struct

import h11

from streamstop_simulator.control import PREFIX, Control
from streamstop_simulator.simulation import Simulation
from streamstop_simulator.sockets import Listener
from streamstop_simulator.wire import Answer, Arrival, Spoil

_CHUNK = 64 * 1024
_LARGEST_BODY = 64 * 1024 * 1024


class _Gone(Exception):
    """The caller left, or the connection is of no more use."""


class Server:
    """Serves a simulation on `host` and `port`; port 0 takes a free one."""

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
        """Where it listens: ``http://127.0.0.1:8099``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises :class:`OSError` if the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = Listener(family, (self._host, self._port), backlog=1024)
        self._server = await asyncio.start_server(self._connected, sock=self._listener, backlog=1024)
        self._port = self._listener.getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and drop every connection."""
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
            raise RuntimeError("a connection is served by a task")
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (_Gone, ConnectionError, asyncio.CancelledError):
            pass  # of a caller that leaves, or of close(), there is nothing to tell
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            try:
                arrival = await self._arrival(http, reader, writer)
            except h11.RemoteProtocolError as error:
                if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    answer = Answer(error.error_status_hint, "text/plain", f"{error}\n".encode())
                    writer.write(_bytes(http, answer))
                return
            await self._send(http, reader, writer, await self._answer(arrival))
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _arrival(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Arrival:
        request = await _next_event(http, reader)
        if not isinstance(request, h11.Request):
            raise _Gone
        clock = self.simulation.clock
        connection = writer.get_extra_info("socket")
        age = self._listener.age(connection.fileno()) if self._listener and connection else 0.0
        epoch, at = clock.epoch() - age, clock.monotonic() - age
        if http.they_are_waiting_for_100_continue:
            go_on = http.send(h11.InformationalResponse(status_code=100, headers=[]))
            writer.write(go_on or b"")
        body = b""
        while isinstance(event := await _next_event(http, reader), h11.Data):
            body += event.data
            if len(body) > _LARGEST_BODY:
                raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
        if not isinstance(event, h11.EndOfMessage):
            raise _Gone
        headers: dict[str, str] = {}
        for name, value in request.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        path, _, query = request.target.decode("latin-1").partition("?")
        return Arrival(request.method.decode("latin-1"), path, query, headers, body, epoch, at)

    async def _answer(self, arrival: Arrival) -> Answer:
        if arrival.path.startswith(PREFIX):
            return await self._control.answer(arrival)
        answer = self.simulation.answer(arrival)
        if answer is None:
            return Answer(404, "application/json", b'{"error": "neither a call to a vendor nor a control path"}')
        return answer

    async def _send(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
    ) -> None:
        if answer.delay_ms:
            await asyncio.sleep(answer.delay_ms / 1000)
        match answer.spoil:
            case None:
                writer.write(_bytes(http, answer))
                await writer.drain()
            case Spoil.HALF_BODY:
                writer.write(_bytes(http, answer)[: -len(answer.body) // 2])
                await writer.drain()
                raise _Gone
            case Spoil.RESET:
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                raise _Gone
            case Spoil.HANG:
                while await reader.read(_CHUNK):
                    pass
                raise _Gone


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
